"""The commands of ``cifar10net``, a module each; a command imports what it needs when it runs."""
