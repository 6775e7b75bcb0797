"""One GET within bounds: of time as a whole, and of size."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from urllib3.exceptions import HTTPError, TimeoutError

from autoscale.errors import MetricsError
from daemonkit.addresses import without_credentials

CHUNK = 65_536  # bytes
LARGEST = 64_000_000  # bytes


@dataclass(frozen=True)
class Answer:
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def get(
    session: requests.Session,
    url: str,
    *,
    what: str,
    timeout: float,
    params: Mapping[str, str] | None = None,
    largest: int = LARGEST,
    redirects: bool = False,
) -> Answer:
    """Raises MetricsError that names `what` and where, and never a password.

    `redirects` are followed only where the operator chose the server: one could lead out of what is allowed.
    """
    deadline = time.monotonic() + timeout
    try:
        with session.get(url, params=params, timeout=timeout, stream=True, allow_redirects=redirects) as response:
            body = bytearray()
            # What has come, not a whole chunk: a server that sends a byte now and then would hold it for ever.
            while chunk := response.raw.read1(CHUNK, decode_content=True):
                body += chunk
                if len(body) > largest:
                    raise MetricsError(f"{what} at {without_credentials(url)} is larger than {largest:,} bytes")
                if time.monotonic() > deadline:
                    raise MetricsError(f"{what} at {without_credentials(url)} took longer than {timeout:g} s")
            if response.status_code != 200:
                raise MetricsError(f"{what} at {without_credentials(url)} answered {response.status_code}")
            return Answer(bytes(body), response.headers)
    except (requests.RequestException, HTTPError, ValueError) as error:
        raise MetricsError(f"{what} at {without_credentials(url)} cannot be read: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """In words, without the address: it may hold a password."""
    if isinstance(error, requests.Timeout | TimeoutError):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "connection failed"
    return type(error).__name__
