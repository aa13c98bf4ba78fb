"""Tests wrong, damaged and hostile inputs: a table for each reader, and mutations of valid inputs."""
