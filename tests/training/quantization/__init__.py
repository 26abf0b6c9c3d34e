"""Tests of int8 and float16 models."""
