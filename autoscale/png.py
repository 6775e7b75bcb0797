"""The chart of `draw.svg` as a PNG, for where SVG is not shown: chats, tickets, mail. No library: zlib is all that a PNG needs.

Source: the PNG specification, third edition; 8 bits a sample, truecolour, filter 0.
"""

import struct
import zlib
from collections.abc import Sequence

from autoscale.draw import Line, thin

WHITE, GRID, INK = (255, 255, 255), (227, 231, 234), (86, 100, 111)
# 3 x 5 dots a letter, a row each from the top, the leftmost dot the highest bit. What is not here is left blank.
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz.:/-_"
_DOTS = (
    "75557 26227 71747 71717 55711 74717 74757 71111 75757 75717 03577 44757 07447 11757 07647 34744 07571 44755 20222 10117 45655"
    " 22221 07555 07555 07557 07574 07571 07444 07617 27221 05557 05552 05577 05255 05717 07247 00002 02020 11244 00700 00007"
)
_FONT = dict(zip(_LETTERS, _DOTS.split(" "), strict=True))


class _Canvas:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._rows = [bytearray(WHITE * width) for _ in range(height)]

    def box(self, left: int, top: int, right: int, bottom: int, colour: tuple[int, int, int]) -> None:
        """Filled, both ends included; what is outside is cut off."""
        left, right = max(0, min(left, right)), min(self.width - 1, max(left, right))
        for y in range(max(0, min(top, bottom)), min(self.height - 1, max(top, bottom)) + 1):
            self._rows[y][3 * left : 3 * (right + 1)] = bytes(colour) * max(0, right - left + 1)

    def text(self, left: int, top: int, text: str, colour: tuple[int, int, int], size: int = 2) -> None:
        for letter in text.lower():
            for y, row in enumerate(_FONT.get(letter, "")):
                for x in range(3):
                    if int(row) & (4 >> x):
                        self.box(
                            left + x * size,
                            top + y * size,
                            left + x * size + size - 1,
                            top + y * size + size - 1,
                            colour,
                        )
            left += 4 * size

    def encoded(self) -> bytes:
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + row for row in self._rows), 6)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(title: str, lines: Sequence[Line], *, width: int = 1200, height: int = 320) -> bytes:
    """Step lines, a scale and a legend."""
    canvas = _Canvas(width, height)
    left, above, plot_w, plot_h = 70, 40, width - 85, height - 80
    top = max((value for line in lines for value in line.values if value is not None), default=0.0) or 1.0
    canvas.text(left, 12, title[:100], INK, 3)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = above + round(plot_h * (1 - share))
        canvas.box(left, y, left + plot_w, y, GRID)
        label = f"{top * share:.4g}"
        canvas.text(left - 8 - 8 * len(label), y - 5, label, INK)
    x = left
    for line in lines:
        colour = _rgb(line.colour)
        _steps(canvas, thin(line.values, plot_w), colour, left, above, plot_w, plot_h, top)
        canvas.box(x, height - 17, x + 18, height - 15, colour)
        canvas.text(x + 26, height - 21, line.name, INK)
        x += 26 + 8 * len(line.name) + 30
    return canvas.encoded()


def _steps(
    canvas: _Canvas,
    values: Sequence[float | None],
    colour: tuple[int, int, int],
    left: int,
    above: int,
    width: int,
    height: int,
    top: float,
) -> None:
    before: tuple[int, int] | None = None
    for index, value in enumerate(values):
        if value is None:
            before = None
            continue
        x = left + round(width * index / max(1, len(values) - 1))
        y = above + round(height * (1 - value / top))
        if before:
            canvas.box(before[0], before[1], x, before[1] + 1, colour)
            canvas.box(x, before[1], x + 1, y, colour)
        else:
            canvas.box(x, y, x + 1, y + 1, colour)
        before = (x, y)


def _rgb(colour: str) -> tuple[int, int, int]:
    """`#b3261e`"""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
