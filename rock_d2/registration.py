"""Adds to Detectron2's registries and catalogs what rock_d2 has: importing this module does it.

A new neck, fusion or meta-architecture adds its module here.
"""

from rock_d2.data import datasets  # noqa: F401
from rock_d2.modeling import anchor_generator, flat, fusion, neck, port, rock, ssd  # noqa: F401
