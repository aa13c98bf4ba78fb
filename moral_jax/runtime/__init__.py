"""The process we run in: files, terminal, memory, signals, peers."""
