"""Inputs that are wrong, damaged or hostile: a table for each reader, and mutations of what is right."""
