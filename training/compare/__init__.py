"""Exported models side by side: what each costs, how good it is, how it bears shifted images."""
