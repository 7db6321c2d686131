"""Tries to break the rest of the package; tools/fuzz.py and tools/chaos.py run it."""
