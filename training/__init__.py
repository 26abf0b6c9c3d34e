"""Trains, evaluates, exports and quantises networks for CIFAR-10."""
