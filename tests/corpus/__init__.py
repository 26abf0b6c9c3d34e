"""Recorded requests and answers, which every later version has to answer alike."""
