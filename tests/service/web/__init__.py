"""Tests of the page over HTTP."""
