"""Necks, fusions and the SSD detector. rock_d2/registration.py imports what must be registered."""
