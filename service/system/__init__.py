"""What the operating system provides: listening sockets, limits, memory, CPUs and control groups."""
