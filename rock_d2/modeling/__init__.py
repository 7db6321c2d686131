"""Necks, fusions and the SSD detector. rock_d2/__init__.py imports what must be registered."""
