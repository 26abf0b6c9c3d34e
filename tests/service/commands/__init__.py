"""Tests of the commands of cifar10net."""
