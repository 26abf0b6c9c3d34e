"""The operating system's part: sockets, limits, memory, CPUs and control groups."""
