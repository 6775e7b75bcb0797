"""The PNG is read again by a browser's decoder in tests of the page; here by the format's own rules."""

import struct
import zlib

from autoscale.draw import Line
from autoscale.png import png

RED, WHITE = (255, 0, 0), (255, 255, 255)


def pixels(image: bytes) -> list[list[tuple[int, ...]]]:
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, []
    while at < len(image):
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        content = image[at + 8 : at + 8 + length]
        assert struct.unpack(">I", image[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        chunks.append((kind, content))
        at += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, colour) == (8, 2)
    raw, step = zlib.decompress(chunks[1][1]), 3 * width + 1
    rows = [raw[row * step + 1 : (row + 1) * step] for row in range(height)]
    return [[tuple(row[3 * x : 3 * x + 3]) for x in range(width)] for row in rows]


def test_a_step_is_drawn_where_it_is_and_a_gap_is_left_empty():
    rows = pixels(png("", [Line("x", "#ff0000", [0, 0, None, None, 10, 10])], width=300, height=120))
    red = {(x, y) for y, row in enumerate(rows) for x, pixel in enumerate(row) if pixel == RED and y < 90}
    low, high = {x for x, y in red if y > 75}, {x for x, y in red if y < 50}
    assert low and high and max(low) < min(high) - 50
    assert not [x for x, _ in red if max(low) < x < min(high)]


def test_nothing_to_draw_is_a_picture_too():
    rows = pixels(png("/a: ÿ", [Line("x", "#ff0000", []), Line("y", "#ff0000", [None])]))
    assert len(rows) == 320 and rows[0][0] == WHITE
