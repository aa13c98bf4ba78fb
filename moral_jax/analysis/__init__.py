"""Metrics of records. numpy and scipy only."""
