"""The commands of ``cifar10net-train``."""
