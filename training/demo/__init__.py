"""The ideas of a convolutional network on things small enough to follow by hand."""
