"""Measurements against others, in one run and in turn; tools/benchmark.py runs them."""
