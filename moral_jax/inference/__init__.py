"""Forward passes without gradient."""
