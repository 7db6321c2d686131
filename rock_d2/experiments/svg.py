"""Charts as SVG text: no library, no other file, the same in a page and in a README.

Colours follow Okabe and Ito, which people with any colour vision tell apart.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
INK, PALE = "#333333", "#dddddd"
WIDTH = 860
ROW = 34


def dot_chart(
    rows: Mapping[str, Sequence[float]], marks: Mapping[str, float], *, unit: str, mark: str
) -> str:
    """Each row's values as dots with their mean as a bar, and a single mark beside them.

    Args:
        rows: values by title, from top to bottom.
        marks: at most one a row, drawn as a diamond.
        unit: what is measured.
        mark: what the diamonds are.
    """
    values = [value for of_row in rows.values() for value in of_row] + list(marks.values())
    ticks = nice_ticks(min(values, default=0), max(values, default=1))
    left, right, height = 190, WIDTH - 70, ROW * len(rows) + 70

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    parts = _vertical_grid(ticks, x, top=10, bottom=height - 60)
    for i, (title, of_row) in enumerate(rows.items()):
        y, colour = 10 + ROW * (i + 0.5), COLOURS[i % len(COLOURS)]
        parts.append(_text(left - 10, y + 4, title, anchor="end"))
        if of_row:
            mean = sum(of_row) / len(of_row)
            parts.append(_line(x(mean), y - 11, x(mean), y + 11, colour, 3))
            parts.append(_text(right + 12, y + 4, f"{mean:.1f}", colour=colour))
        parts += [_circle(x(value), y, 4.5, colour) for value in of_row]
        if title in marks:
            parts.append(_diamond(x(marks[title]), y))
    parts.append(_text((left + right) / 2, height - 24, unit, anchor="middle"))
    legend = "each dot a seed, the bar their mean" + (f", ◇ {mark}" if marks else "")
    parts.append(_text((left + right) / 2, height - 6, legend, anchor="middle", size=11))
    return _svg(height, parts)


def line_chart(
    series: Mapping[str, Sequence[Mapping[float, float]]], *, x_title: str, y_title: str
) -> str:
    """The mean of each series' curves in full, the single curves pale behind it.

    Args:
        series: curves, y by x, of each series by its title.
        x_title, y_title: of the axes.
    """
    points = [point for curves in series.values() for curve in curves for point in curve.items()]
    xs, ys = (
        nice_ticks(0, max(p[0] for p in points)),
        nice_ticks(min(p[1] for p in points), max(p[1] for p in points)),
    )
    left, right, top, bottom = 70, WIDTH - 200, 28, 330

    def x(value: float) -> float:
        return left + (value - xs[0]) / (xs[-1] - xs[0]) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - ys[0]) / (ys[-1] - ys[0]) * (bottom - top)

    parts = _vertical_grid(xs, x, top=top, bottom=bottom)
    for tick in ys:
        parts.append(_line(left, y(tick), right, y(tick), PALE, 1))
        parts.append(_text(left - 8, y(tick) + 4, _tick(tick), anchor="end"))
    for i, (title, curves) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        parts += [_path([(x(a), y(b)) for a, b in c.items()], colour, 1, 0.35) for c in curves]
        mean = mean_curve(curves)
        parts.append(_path([(x(a), y(b)) for a, b in mean.items()], colour, 2.5, 1.0))
        parts.append(_line(right + 15, top + 22 * i + 10, right + 35, top + 22 * i + 10, colour, 3))
        parts.append(_text(right + 42, top + 22 * i + 14, title))
    parts.append(_text((left + right) / 2, bottom + 42, x_title, anchor="middle"))
    parts.append(_text(left, top - 12, y_title, size=12))
    return _svg(bottom + 55, parts)


def bar_chart(
    groups: Sequence[str], series: Mapping[str, Mapping[str, float]], *, unit: str
) -> str:
    """A bar for each series in each group, groups below each other.

    Args:
        groups: from top to bottom.
        series: values by group, by the series' title.
        unit: what is measured.
    """
    values = [value for of_series in series.values() for value in of_series.values()]
    ticks = nice_ticks(0, max(values, default=1))
    thickness = 9
    step = thickness * len(series) + 10
    left, right, top = 150, WIDTH - 60, 22 * len(series) + 15
    bottom = top + step * len(groups)

    def x(value: float) -> float:
        return left + value / ticks[-1] * (right - left)

    parts = _vertical_grid(ticks, x, top=top, bottom=bottom)
    for i, title in enumerate(series):
        parts.append(_rect(left, 22 * i + 6, 14, 10, COLOURS[i % len(COLOURS)]))
        parts.append(_text(left + 22, 22 * i + 15, title))
    for g, group in enumerate(groups):
        y = top + step * g + 5
        parts.append(_text(left - 10, y + step / 2 - 1, group, anchor="end"))
        for i, of_series in enumerate(series.values()):
            if group in of_series:
                length = x(of_series[group]) - left
                colour = COLOURS[i % len(COLOURS)]
                parts.append(_rect(left, y + thickness * i, length, thickness - 1, colour))
    parts.append(_text((left + right) / 2, bottom + 38, unit, anchor="middle"))
    return _svg(bottom + 50, parts)


def mean_curve(curves: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Where all curves have a value, the mean of these."""
    common = set.intersection(*map(set, curves)) if curves else set()
    return {a: sum(curve[a] for curve in curves) / len(curves) for a in sorted(common)}


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About ``count`` round numbers whose first and last enclose the range."""
    if high - low < 1e-9:
        high = low + 1
    raw = (high - low) / (count - 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _vertical_grid(ticks: Sequence[float], x, *, top: float, bottom: float) -> list[str]:
    parts = [_line(x(tick), top, x(tick), bottom, PALE, 1) for tick in ticks]
    return parts + [_text(x(t), bottom + 18, _tick(t), anchor="middle") for t in ticks]


def _tick(value: float) -> str:
    return f"{value:,.10g}"


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, colour: str = INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(words)}</text>'
    )


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, width: float) -> str:
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def _path(points: Sequence[tuple[float, float]], colour: str, width: float, opacity: float) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'opacity="{opacity}"/>'
    )


def _circle(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" opacity="0.6"/>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def _diamond(x: float, y: float, size: float = 6) -> str:
    corners = ((x, y - size), (x + size, y), (x, y + size), (x - size, y))
    places = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'<polygon points="{places}" fill="white" stroke="{INK}" stroke-width="1.5"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" font-family="Helvetica, Arial, sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
