"""Records and numbers to a page a person wants to read. Reads files of a run; imports nothing of ours but types."""
