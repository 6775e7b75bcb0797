"""What a syntax is: it reads literal text, and it escapes a value for a place in it."""

import re
from typing import Protocol

Place = str  # where in the syntax: BARE, UNKNOWN, a quote, "#", or something of the syntax's own
BARE: Place = "bare"
MIDDLE: Place = "middle"  # bare, inside a word: where quotes and # open nothing in some syntaxes
EITHER: Place = "either"  # one of the two: after a value, which may be empty, and after branches that end differently
UNKNOWN: Place = "unknown"  # two branches end in different places: only harmless values may stand here

_HARMLESS = re.compile(r"[A-Za-z0-9_.:/@%+=,\-]*")


class RefusedValueError(Exception):
    """A value that cannot be written safely where the template puts it."""

    def __init__(self, value: str, why: str) -> None:
        super().__init__(f"{shown(value)}: {why}")
        self.value = value
        self.why = why


class Syntax(Protocol):
    @property
    def name(self) -> str: ...

    def advance(self, place: Place, text: str) -> Place:
        """The place after literal `text` that begins at `place`."""
        ...

    def after_value(self, place: Place) -> Place:
        """The place after a value that was written at `place`."""
        ...

    def escape(self, place: Place, value: object) -> str:
        """`value` as it is to be written at `place`. Raises RefusedValueError."""
        ...

    def merge(self, one: Place, other: Place) -> Place:
        """The place after two branches that end at these places."""
        ...


def merged(one: Place, other: Place) -> Place:
    if one == other:
        return one
    return EITHER if {one, other} <= {BARE, MIDDLE, EITHER} else UNKNOWN


def is_bare(place: Place) -> bool:
    """Outside of quotes and comments: where text that a template has already made for its syntax may stand."""
    return place.partition("\n")[0] in (BARE, MIDDLE, EITHER)


def harmless(value: str) -> str:
    """For places that are not known: letters, digits and `_.:/@%+=,-` mean nothing to any of the syntaxes."""
    if _HARMLESS.fullmatch(value) is None:
        raise RefusedValueError(value, "may stand here only with letters, digits and _.:/@%+=,-")
    return value


def refuse_unprintable(value: str, where: str) -> None:
    if not value.isprintable():
        raise RefusedValueError(value, f"line breaks and other control characters cannot stand {where}")


def shown(value: str, limit: int = 80) -> str:
    """A value as it may stand in a log or on a page."""
    return ascii(value if len(value) <= limit else value[:limit] + "…")
