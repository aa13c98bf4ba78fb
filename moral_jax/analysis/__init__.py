"""Numbers from records. numpy only."""
