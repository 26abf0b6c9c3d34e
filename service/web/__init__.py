"""The page: pictures, models, test sets and training runs in a browser, over HTTP and JSON.

``app`` assembles it; ``routes/openapi.json`` describes the interface.
"""
