"""From a config to a filled run: each a story from top to bottom."""
