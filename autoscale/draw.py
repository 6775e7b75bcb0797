"""Demand against supply: a chart for the terminal, and one as SVG. Pure: points in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Line:
    """A named series; a None is a gap."""

    name: str
    colour: str
    values: Sequence[float | None]


def thin(values: Sequence[float | None], columns: int) -> list[float | None]:
    """The highest value of each of `columns` equal parts; None where a part has none."""
    size = max(1.0, len(values) / columns)
    parts = [
        values[int(index * size) : max(int(index * size) + 1, int((index + 1) * size))]
        for index in range(min(columns, len(values)))
    ]
    return [max((value for value in part if value is not None), default=None) for part in parts]


def terminal(lines: Sequence[Line], *, columns: int = 100, rows: int = 6) -> str:
    """One chart a line, all on one scale, with the scale's top at the left."""
    top = max((value for line in lines for value in line.values if value is not None), default=0.0) or 1.0
    drawn = []
    for line in lines:
        values = thin(line.values, columns)
        drawn.append(line.name)
        for row in range(rows - 1, -1, -1):
            cells = "".join(" " if value is None else _block(value / top * rows - row) for value in values)
            drawn.append(f"{top:8.4g} ┤{cells}" if row == rows - 1 else f"         │{cells}")
    return "\n".join(drawn)


def _block(height: float) -> str:
    return BLOCKS[max(0, min(8, round(height * 8)))]


def svg(title: str, lines: Sequence[Line], *, width: int = 1200, height: int = 320) -> str:
    """A stand-alone SVG with step lines, a scale and a legend."""
    top = max((value for line in lines for value in line.values if value is not None), default=0.0) or 1.0
    plot_w, plot_h, left, above = width - 70, height - 70, 55, 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/><text x="{left}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = above + plot_h * (1 - share)
        parts.append(f'<path d="M{left} {y:.1f}h{plot_w}" stroke="#e3e7ea"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#56646f">{top * share:.4g}</text>')
    for index, line in enumerate(lines):
        values = thin(line.values, plot_w)
        path = _path(values, left, above, plot_w, plot_h, top)
        parts.append(f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"/>')
        x = left + 180 * index
        parts.append(f'<path d="M{x} {height - 14}h18" stroke="{line.colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 24}" y="{height - 10}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _path(values: Sequence[float | None], left: int, above: int, width: int, height: int, top: float) -> str:
    path, drawing = [], False
    for index, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        x = left + width * index / max(1, len(values) - 1)
        y = above + height * (1 - value / top)
        path.append(f"{'H' + format(x, '.1f') + 'V' + format(y, '.1f') if drawing else f'M{x:.1f} {y:.1f}'}")
        drawing = True
    return "".join(path) or "M0 0"
