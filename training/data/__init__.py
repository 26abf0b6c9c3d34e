"""CIFAR-10 on disk and in memory: download, readers, splits and augmentation."""
