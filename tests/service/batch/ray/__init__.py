"""Tests of jobs on clusters."""
