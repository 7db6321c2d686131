"""Measurements, each against something else in the same run; tools/benchmark.py runs them."""
