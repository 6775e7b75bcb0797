"""The length of a queue: a number in the JSON that its owner answers."""

import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.sample import Quality, Sample
from daemonkit.addresses import without_credentials

LARGEST = 1_000_000  # bytes


def read(session: requests.Session, url: str, path: str, *, now: float, timeout: float) -> Sample:
    """`path` leads to the number: keys and indexes between points, nothing for an answer that is one.

    A zero is true: the queue's owner says so. Raises MetricsError.
    """
    answer = fetching.get(session, url, what="the queue's length", timeout=timeout, largest=LARGEST)
    try:
        value = _number(_at(orjson.loads(answer.body), path))
    except (ValueError, KeyError, IndexError, TypeError):
        where = f"at {path} " if path else ""
        raise MetricsError(f"the answer of {without_credentials(url)} has {where}no number of at least 0") from None
    return Sample(now, value, Quality.FRESH if value > 0 else Quality.TRUE_ZERO)


def _at(document: Any, path: str) -> Any:
    for part in filter(None, path.split(".")):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(value)
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(value)
    return number


def is_below(url: str, allowed: Iterable[str]) -> bool:
    """Whether an address is one of those that `allowed` names, or below one: the same scheme, host and port, and a path that goes on
    after a whole part of it. What looks alike and leads elsewhere (`http://queue@evil`, `http://queue.evil`, `/..`) is not."""
    asked = _parts(url)
    return asked is not None and any(
        (place := _parts(one)) is not None
        and asked[0] == place[0]
        and (asked[1] == place[1] or asked[1].startswith(place[1].rstrip("/") + "/"))
        for one in allowed
    )


def _parts(url: str) -> tuple[tuple[str, str, int], str] | None:
    """(scheme, host, port) and path; None for what cannot be compared."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    steps = unquote(parts.path).replace("\\", "/").split("/")
    if not parts.hostname or parts.netloc.count("@") > 1 or "\\" in url or "." in steps or ".." in steps:
        return None
    return (parts.scheme, parts.hostname, port), parts.path or "/"
