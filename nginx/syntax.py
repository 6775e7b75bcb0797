"""How a value is written into a proxy's configuration. The last belt: names.py has refused what should not be there long before."""

from nginx.errors import RefusedError

_WORDS_OF_MAPS = ("default", "hostnames", "include", "volatile")


def quote(value: object) -> str:
    """A double-quoted string for Nginx (and for Lua). Refuses what quoting cannot hold: control characters and variables."""
    text = str(value)
    if not text.isprintable() or "$" in text:
        raise RefusedError(f"{text[:60]!a} cannot stand in an Nginx configuration")
    return _quoted(text)


def quote_key(value: object) -> str:
    """As `quote`, for the first word of a map's entry, where some words mean something else unless a backslash comes before them."""
    text = str(value)
    return quote(f"\\{text}" if text in _WORDS_OF_MAPS else text)


def quote_pattern(value: object) -> str:
    """As `quote`, for regular expressions and captures that this package made itself, in which `$` has its meaning."""
    text = str(value)
    if not text.isprintable():
        raise RefusedError(f"{text[:60]!a} cannot stand in an Nginx configuration")
    return _quoted(text)


def haproxy_word(value: object) -> str:
    """One word of an HAProxy configuration, in single quotes, inside which HAProxy interprets nothing."""
    text = str(value)
    if not text.isprintable() or "'" in text:
        raise RefusedError(f"{text[:60]!a} cannot stand in an HAProxy configuration")
    return f"'{text}'"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
