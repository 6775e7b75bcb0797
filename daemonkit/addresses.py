"""Addresses as they may be shown: they end up in logs, errors and answers."""

from urllib.parse import urlsplit, urlunsplit


def without_credentials(url: str) -> str:
    """`http://user:secret@host/path?token=…` -> `http://host/path`: what says where, and nothing of who asks."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "an address that cannot be read"
