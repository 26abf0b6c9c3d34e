"""The page, asked over real HTTP."""
