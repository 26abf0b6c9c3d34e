"""Int8 and float16 forms of an exported model."""
