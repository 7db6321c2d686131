"""Furniture that belongs together. A group's wall is the plane z = 0, its room lies towards -z."""

from collections.abc import Callable

import numpy as np

from roomgen import clutter, electronics, furniture_bedroom, furniture_living
from roomgen.clutter import strew
from roomgen.parts import Extent, Group, Piece

Rng = np.random.Generator
_DESK_THINGS = ("paper", "book", "cup", "telephone", "lamp", "books", "bottle", "speaker", "plant")
_LIVING_THINGS = (
    "book",
    "magazine",
    "vase",
    "cup",
    "plant",
    "bowl",
    "candle",
    "bottle",
    "tissue box",
)
_BED_THINGS = ("book", "alarm clock", "cup", "telephone", "tissue box", "vase", "bottle")
_TABLE_THINGS = ("bowl", "vase", "plate", "cup", "bottle", "candle", "plant")
_TOYS = ("ball", "toy cube", "toy car", "stuffed animal", "book", "box")


def bed(rng: Rng) -> Group:
    """A bed with pillows at its head, night stands with lamps at its sides."""
    made = furniture_bedroom.bed(rng).at_wall()
    pieces = [made, *_pillows(rng, made.top, per_row=1 if made.width < 1.25 else 2)]
    for side in (-1, 1):
        if rng.random() < 0.7:
            stand = furniture_bedroom.night_stand(rng)
            x = side * ((made.width + stand.width) / 2 + rng.uniform(0.03, 0.15))
            stand = stand.at_wall(x=x)
            lamp = strew(rng, stand.top, ["lamp"], int(rng.random() < 0.7))
            small = strew(rng, stand.top, _BED_THINGS, int(rng.integers(0, 3)), taken=lamp)
            pieces += [stand, *lamp, *small]
    return Group(pieces)


def _pillows(rng: Rng, top: Extent, per_row: int) -> list[Piece]:
    """One row that leans on what is behind it, perhaps a smaller one before it."""
    pieces = []
    upright = rng.random() < 0.5
    for i in range(per_row):
        x = top.x + (i - (per_row - 1) / 2) * 2 * top.half_width / per_row
        pillow = furniture_bedroom.pillow(rng, upright=upright)
        z = top.z + top.half_depth - pillow.extent.half_depth - 0.02
        pieces.append(
            pillow.moved(x=x + rng.normal(0, 0.03), z=z, up=top.bottom, yaw=rng.normal(0, 0.08))
        )
    if upright and rng.random() < 0.4:
        pillow = furniture_bedroom.pillow(rng, upright=True)
        z = top.z - top.half_depth * 0.4
        pieces.append(pillow.moved(x=top.x + rng.normal(0, 0.1), z=z, up=top.bottom))
    return pieces


def desk(rng: Rng) -> Group:
    """A desk with a monitor or laptop, a chair before it and often a bin beside it."""
    made = furniture_living.desk(rng).at_wall()
    top = made.top
    pieces = [made]
    screens = [
        electronics.monitor(rng)
        for _ in range(rng.choice([0, 1, 1, 1, 2 if made.width > 1.4 else 1]))
    ]
    for i, monitor in enumerate(screens):
        x = (i - (len(screens) - 1) / 2) * (monitor.width + 0.06) + rng.normal(0, 0.04)
        z = top.z + top.half_depth - monitor.extent.half_depth - 0.08
        pieces.append(monitor.moved(x=x, z=z, up=top.bottom, yaw=rng.normal(0, 0.08)))
    if screens:
        z = top.z - 0.16
        pieces.append(electronics.keyboard(rng).moved(z=z, up=top.bottom, yaw=rng.normal(0, 0.06)))
    elif rng.random() < 0.6:
        pieces.append(electronics.laptop(rng).moved(z=top.z - 0.05, up=top.bottom))
    pieces += strew(rng, top, _DESK_THINGS, int(rng.integers(1, 6)), taken=pieces[1:])
    if rng.random() < 0.9:
        pieces.append(_seat_before(rng, made))
    if rng.random() < 0.55:
        bin_ = furniture_living.garbage_bin(rng)
        side = rng.choice([-1, 1])
        x = side * ((made.width + bin_.width) / 2 + rng.uniform(0.04, 0.2))
        pieces.append(bin_.moved(x=x, z=-rng.uniform(0.25, 0.6)))
    return Group(pieces)


def _seat_before(rng: Rng, made: Piece, x: float = 0.0) -> Piece:
    """A chair that faces the piece (so it is turned round), pulled out a little."""
    chair = furniture_living.chair(rng)
    front = made.extent.z - made.extent.half_depth
    z = front - chair.extent.half_depth + rng.uniform(-0.05, 0.25)
    return chair.moved(x=x + rng.normal(0, 0.06), z=z, yaw=np.pi + rng.normal(0, 0.25))


def dining(rng: Rng) -> Group:
    """A table with chairs on its sides and dishes on it."""
    table = furniture_living.table(rng)
    pieces = [table, *strew(rng, table.top, _TABLE_THINGS, int(rng.integers(1, 6)))]
    places = [(0, x) for x in ((-0.25, 0.25) if table.width > 1.2 else (0.0,))]
    places += [(2, x) for _, x in places] + [(1, 0.0), (3, 0.0)]
    model = int(rng.integers(1 << 32))
    for quarter, share in places:
        if rng.random() < 0.75:
            chair = _same_model(furniture_living.straight_chair, model)
            reach = (table.depth if quarter % 2 == 0 else table.width) / 2
            out, along = reach + chair.depth / 2 - rng.uniform(-0.2, 0.15), share * table.width
            yaw = quarter * np.pi / 2
            x = out * np.sin(yaw) + along * np.cos(yaw)
            z = out * np.cos(yaw) - along * np.sin(yaw)
            pieces.append(chair.moved(x=x, z=z, yaw=yaw + rng.normal(0, 0.12)))
    return Group(pieces)


def _same_model(build: Callable[..., Piece], model: int, **options: float) -> Piece:
    """The chairs of one table are alike: all are drawn from the same seed."""
    return build(np.random.default_rng(model), **options)


def sofa(rng: Rng) -> Group:
    """A sofa with pillows, perhaps a coffee table before it and a lamp beside it."""
    made = furniture_living.sofa(rng).at_wall()
    pieces = [made]
    for side in (-1, 1):
        if rng.random() < 0.6:
            pillow = furniture_bedroom.pillow(rng, upright=True)
            x = side * (made.top.half_width - rng.uniform(0.15, 0.3))
            z = made.top.z - 0.05
            pieces.append(
                pillow.moved(x=x, z=z, up=made.top.bottom, yaw=-side * rng.uniform(0, 0.4))
            )
    if rng.random() < 0.7:
        table = furniture_living.coffee_table(rng).moved(z=-made.depth - rng.uniform(0.6, 0.9))
        pieces += [table, *strew(rng, table.top, _LIVING_THINGS, int(rng.integers(1, 5)))]
    if rng.random() < 0.4:
        lamp = furniture_living.floor_lamp(rng)
        side = rng.choice([-1, 1])
        pieces.append(lamp.at_wall(x=side * (made.width / 2 + lamp.width / 2 + 0.05)))
    return Group(pieces)


def television(rng: Rng) -> Group:
    """A television on its stand, with what belongs to it."""
    stand = electronics.tv_stand(rng).at_wall()
    screen = electronics.television(rng)
    screen = screen.moved(z=stand.extent.z, up=stand.height, yaw=rng.normal(0, 0.05))
    things = strew(rng, stand.top, ("speaker", "dvd player", "plant", "vase"), 2, taken=[screen])
    return Group([stand, screen, *things])


def wall_television(rng: Rng) -> Group:
    up = rng.uniform(0.95, 1.3)
    return Group([electronics.television(rng, on_wall=True).at_wall(up=up)])


def bookshelf(rng: Rng) -> Group:
    """A bookshelf with rows of books, and gaps with other things."""
    made = furniture_living.bookshelf(rng)
    boards = sorted(-p.centre[1] + p.half[1] for p in made.parts if p.half[1] < 0.012)[:-1]
    pieces = [made]
    inner = made.width - 0.06
    for low, high in zip(boards, [*boards[1:], made.height - 0.02], strict=True):
        space = high - low - 0.03
        span = inner * rng.choice([1.0, 1.0, 0.6, 0.45])
        side = rng.choice([-1, 1])
        row = furniture_living.books(rng, span, space)
        pieces.append(row.moved(x=side * (inner - span) / 2, up=low, z=0.02))
        if span < 0.9 * inner:
            thing = clutter.CLUTTER[str(rng.choice(["vase", "box", "radio", "candle"]))](rng)
            if thing.height < space and thing.width < inner - span and thing.depth < 0.26:
                pieces.append(thing.moved(x=-side * span / 2, up=low))
    return Group([p.moved(z=-made.extent.half_depth - 0.01) for p in pieces])


def dresser(rng: Rng) -> Group:
    made = furniture_bedroom.dresser(rng).at_wall()
    names = (*_BED_THINGS, "lamp", "lamp", "television", "box", "candle", "radio")
    pieces = [made, *strew(rng, made.top, names, int(rng.integers(1, 5)))]
    if rng.random() < 0.35 and made.height < 1.0:
        pieces.append(furniture_bedroom.mirror(rng).at_wall(up=made.height + 0.55))
    return Group(pieces)


def boxes(rng: Rng) -> Group:
    """One box, or some on top of each other."""
    pieces, up = [], 0.0
    for _ in range(rng.integers(1, 4)):
        carton = clutter.carton(rng, scale=1.0 - 0.25 * up)
        pieces.append(carton.moved(z=-0.35, up=up, yaw=rng.normal(0, 0.2)))
        up += 2 * carton.parts[0].half[1]
        if carton.height > 2 * carton.parts[0].half[1] + 0.01:
            break
    return Group(pieces)


def toys(rng: Rng) -> Group:
    floor = Extent(0, -0.7, 0.8, 0.6, bottom=0.0, top=1.0)
    return Group(strew(rng, floor, _TOYS, int(rng.integers(3, 8))))


def play_table(rng: Rng) -> Group:
    """A low table with toys."""
    table = furniture_living.table(rng, width=rng.uniform(0.6, 0.9), height=rng.uniform(0.45, 0.55))
    return Group([table, *strew(rng, table.top, _TOYS, int(rng.integers(2, 5)))])


def side_table(rng: Rng, things: tuple[str, ...] = (*_LIVING_THINGS, "lamp", "printer")) -> Group:
    table = furniture_living.table(rng, width=rng.uniform(0.6, 1.2)).at_wall()
    return Group([table, *strew(rng, table.top, things, int(rng.integers(1, 4)))])


def class_rows(rng: Rng) -> Group:
    """Rows of equal tables, each with chairs that face the front (+z)."""
    table_model, chair_model = (int(model) for model in rng.integers(1 << 32, size=2))
    pieces = []
    rows, columns = rng.integers(1, 4, size=2)
    for row, column in np.ndindex(rows, columns):
        table = _same_model(furniture_living.table, table_model, width=1.2)
        x, z = column * 1.55, -row * 1.6
        things = strew(rng, table.top, ("paper", "book", "laptop", "cup"), 2)
        pieces += [thing.moved(x=x, z=z) for thing in (table, *things)]
        for share in (-0.3, 0.3):
            if rng.random() < 0.8:
                chair = _same_model(furniture_living.chair, chair_model)
                behind = z - (table.depth + chair.depth) / 2 + rng.uniform(-0.1, 0.12)
                yaw = np.pi + rng.normal(0, 0.2)
                pieces.append(chair.moved(x=x + share * 1.2, z=behind, yaw=yaw))
    return Group(pieces)


def single(build: Callable[[Rng], Piece], lowest: float = 0.0, highest: float = 0.0):
    """One piece at the wall, its underside at a height between two."""

    def group(rng: Rng) -> Group:
        return Group([build(rng).at_wall(up=rng.uniform(lowest, highest))])

    return group
