"""Turns the records and numbers of a run into a page. Reads files only, and never imports what trains or scores."""
