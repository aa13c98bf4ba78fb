"""Writes the page of a study: tables, plots and sentences. Reads files only."""
