"""Numbers become PNG files: a module a family of pictures; nothing is computed here but colours and places."""
