"""The commands of ``cifar10net``, one by one; what each needs it imports when it runs."""
