"""Requests and answers that were recorded once, and are answered alike by every later version."""
