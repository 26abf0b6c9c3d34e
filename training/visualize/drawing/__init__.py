"""Numbers become PNG files: a module a family. Nothing is computed here but colours and places."""
