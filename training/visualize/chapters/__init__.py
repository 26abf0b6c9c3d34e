"""The report's chapters: a family of pictures each, with the words that explain them."""
