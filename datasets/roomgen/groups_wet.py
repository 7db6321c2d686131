"""Groups of kitchens and bathrooms; see groups.py."""

import numpy as np

from roomgen import furniture_bedroom, furniture_living, furniture_wet
from roomgen.clutter import strew
from roomgen.parts import Group

Rng = np.random.Generator
_KITCHEN_THINGS = ("bottle", "bowl", "cup", "plate", "toaster", "vase", "radio", "microwave", "box")
_BATH_THINGS = ("bottle", "soap", "cup", "towel", "tissue box", "candle", "vase")


def kitchen_run(rng: Rng) -> Group:
    """Counter with a sink, stove, refrigerator, cabinets above."""
    width = rng.uniform(1.4, 2.4)
    basin = rng.uniform(-0.5, 0.5) * (width - 0.9)
    made = furniture_wet.counter(rng, width, basin_x=basin).at_wall()
    sink = furniture_wet.sink(rng).moved(x=basin, z=made.extent.z, up=0.9)
    pieces = [made, sink, *strew(rng, made.top, _KITCHEN_THINGS, int(rng.integers(2, 6)))]
    ends = [-width / 2, width / 2]
    for name, chance in (("stove", 0.6), ("refridgerator", 0.6), ("counter", 0.3)):
        if rng.random() < chance:
            side = int(rng.integers(2))
            sign = (-1, 1)[side]
            if name == "counter":
                unit = furniture_wet.counter(rng, rng.uniform(0.5, 1.0))
            else:
                unit = getattr(furniture_wet, name)(rng)
            unit = unit.at_wall(x=ends[side] + sign * (unit.width / 2 + 0.004))
            ends[side] += sign * (unit.width + 0.008)
            pieces.append(unit)
            if unit.top and rng.random() < 0.5:
                pieces += strew(rng, unit.top, _KITCHEN_THINGS, 2)
    if rng.random() < 0.75:
        cabinet = furniture_wet.wall_cabinet(rng, width - 0.02)
        pieces.append(cabinet.at_wall(up=rng.uniform(1.42, 1.55)))
    return Group(pieces)


def counter(rng: Rng) -> Group:
    """A counter without a sink; as an island or along a wall."""
    made = furniture_wet.counter(rng, rng.uniform(0.9, 1.8)).at_wall()
    return Group([made, *strew(rng, made.top, _KITCHEN_THINGS, int(rng.integers(1, 5)))])


def vanity(rng: Rng) -> Group:
    """A sink in a counter, or on a foot, under a mirror."""
    if rng.random() < 0.3:
        sink = furniture_wet.pedestal_sink(rng).at_wall()
        pieces, up = [sink], 1.15
    else:
        width = rng.uniform(0.75, 1.5)
        basin = rng.uniform(-0.4, 0.4) * (width - 0.7)
        made = furniture_wet.counter(rng, width, depth=0.52, height=0.82, basin_x=basin).at_wall()
        sink = furniture_wet.sink(rng).moved(x=basin, z=made.extent.z, up=0.82)
        pieces = [made, sink, *strew(rng, made.top, _BATH_THINGS, int(rng.integers(1, 5)))]
        up = 1.2
    if rng.random() < 0.8:
        pieces.append(furniture_bedroom.mirror(rng).at_wall(up=up))
    return Group(pieces)


def toilet(rng: Rng) -> Group:
    made = furniture_wet.toilet(rng).at_wall()
    pieces = [made]
    if rng.random() < 0.35:
        bin_ = furniture_living.garbage_bin(rng)
        side = rng.choice([-1, 1])
        pieces.append(bin_.moved(x=side * (made.width / 2 + bin_.width / 2 + 0.1), z=-0.3))
    return Group(pieces)


def bathtub(rng: Rng) -> Group:
    return Group([furniture_wet.bathtub(rng).at_wall()])
