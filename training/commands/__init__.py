"""The commands of ``cifar10net-train``, a file each."""
