"""Metrics of detection and of the auxiliary tasks. build.py puts them together."""
