"""Interfaces to the operating system and to other processes: files, terminal, memory, signals, multi-process runs."""
