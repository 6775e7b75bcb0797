"""The length of a queue: a number in the JSON that its owner answers."""

import math
from typing import Any

import orjson
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.sample import Quality, Sample

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
        raise MetricsError(f"the answer of {fetching.shown(url)} has {where}no number of at least 0") from None
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
