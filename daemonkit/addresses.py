"""Addresses as they may be shown: they end up in logs, errors and answers."""

import re


def without_credentials(url: str) -> str:
    """`http://user:secret@host/path?token=…` -> `http://host/path`: what says where, and nothing of who asks.

    One that is no address stays as it is otherwise: whoever wrote it is to find it again.
    """
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return scheme + separator + authority.rpartition("@")[2] + slash + path
