"""Text to numbers: rewards of what models write."""
