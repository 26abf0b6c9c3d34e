"""What the product promises, proved; the folders mirror the packages."""
