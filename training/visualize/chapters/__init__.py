"""The chapters of the report: which numbers make which figure, and the text that explains it."""
