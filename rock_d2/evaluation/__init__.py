"""Metrics of detection and of the tasks. build.py puts them together."""
