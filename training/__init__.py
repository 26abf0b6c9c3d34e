"""Builds, trains, evaluates and exports networks for CIFAR-10."""
