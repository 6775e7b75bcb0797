"""Asking daemons how they are."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests

TIMEOUT = 3.0


@dataclass(frozen=True)
class Answer:
    healthy: bool
    why: str


def ask(url: str) -> Answer:
    """GETs a health URL; any 2xx is healthy. `why` names the parts that are not well."""
    try:
        response = requests.get(url, timeout=TIMEOUT)
    except requests.RequestException:
        return Answer(False, "does not answer")
    try:
        body = response.json()
        parts = body["parts"] if isinstance(body, dict) else {}
        ill = [f"{name}: {part['why']}" for name, part in parts.items() if not part["healthy"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        ill = []
    if response.ok:
        # Consul answers its leader question with "" until it has one.
        return Answer(response.text.strip() != '""', "; ".join(ill))
    return Answer(False, "; ".join(ill) or f"answers {response.status_code}")


def wait_until_healthy(urls: dict[str, str], *, timeout: float, given_up: Callable[[], bool]) -> dict[str, Answer]:
    """Asks until all are healthy, the time is over, or `given_up`. Returns those that are not healthy."""
    deadline = time.monotonic() + timeout
    waiting = dict(urls)
    while True:
        answers = {name: ask(url) for name, url in waiting.items()}
        waiting = {name: url for name, url in waiting.items() if not answers[name].healthy}
        if not waiting or time.monotonic() > deadline or given_up():
            return {name: answers[name] for name in waiting}
        time.sleep(0.1)


def wait_until_reachable(url: str, host: str, *, timeout: float) -> bool:
    """Asks an edge until it answers 2xx for the host name; False if it did not in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, headers={"Host": host}, timeout=TIMEOUT).ok:
                return True
        time.sleep(0.1)
    return False
