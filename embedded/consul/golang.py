"""Values as Go writes them in text: durations, booleans, unsigned numbers."""

import re

NANOSECONDS = 1_000_000_000
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000}
_UNITS |= {"s": NANOSECONDS, "m": 60 * NANOSECONDS, "h": 3600 * NANOSECONDS}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_LARGEST = 2**63 - 1


def parse_duration(text: str) -> int:
    """`1h30m`, `250ms`, `-1.5s`, `0` -> nanoseconds. ValueError in Go's words for anything else."""
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if rest == "0":
        return 0
    total, at = 0.0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if not part:
            break
        number, unit = part.groups()
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
        at = part.end()
    if not rest or at < len(rest) or total > _LARGEST:
        raise ValueError(f'time: invalid duration "{text}"')
    return -round(total) if text.startswith("-") else round(total)


def format_duration(nanoseconds: int) -> str:
    """As Go prints it: `10s`, `1m0s`, `1h0m0s`, `1.5s`, `250ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < NANOSECONDS:
        unit = "ms" if rest >= 1_000_000 else "µs" if rest >= 1_000 else "ns"
        return f"{sign}{_decimal(rest / _UNITS[unit])}{unit}"
    hours, rest = divmod(rest, 3600 * NANOSECONDS)
    minutes, rest = divmod(rest, 60 * NANOSECONDS)
    text = f"{_decimal(rest / NANOSECONDS)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def parse_bool(text: str) -> bool:
    """ValueError for what strconv.ParseBool does not know."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_uint(text: str) -> int:
    """An unsigned 64-bit number. ValueError in the words of strconv.ParseUint."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    number = int(text) if len(text) < 4000 else 2**64
    if number >= 2**64:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return number


def _decimal(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
