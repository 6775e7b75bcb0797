"""Which of several autoscalers acts: the one whose session holds a lock in Consul.

Source: Consul's guide "Application Leader Elections with Sessions". A session lives `ttl` seconds from its last renewal at the least, so
the holder may act until then, whatever became of the network; after that another one gets the lock.
"""

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import requests

from autoscale.errors import LockError
from autoscale.metrics.fetching import reason_of
from daemonkit.addresses import without_credentials

SAFETY = 0.8  # of the ttl: clocks differ, and answers take time
LOCK_DELAY = "1s"  # for how long Consul keeps a lost lock free; the holder stops by itself before


class Lock:
    """Not safe for several threads: one calls `hold` again and again; `held` may be asked from any."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        ttl: float,
        timeout: float,
        token: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._key, self._ttl, self._timeout, self._clock = url.rstrip("/"), key, ttl, timeout, clock
        self._http = requests.Session()
        self._http.trust_env = False
        if token:
            self._http.headers["X-Consul-Token"] = token
        self._session = ""
        self._until = float("-inf")

    @property
    def held(self) -> bool:
        return self._clock() < self._until

    @property
    def renew_every(self) -> float:
        return self._ttl / 5

    def hold(self) -> bool:
        """Renews or takes the lock; whether it is held. Raises LockError where Consul does not answer."""
        began = self._clock()
        if not (self._session and self._renewed()):
            self._until = float("-inf")
            self._session = self._created()
        taken = self._call(f"/v1/kv/{quote(self._key)}", socket.gethostname(), acquire=self._session)
        self._until = began + SAFETY * self._ttl if taken is True else float("-inf")
        return self.held

    def release(self) -> None:
        """Lets a successor in at once. Raises LockError."""
        self._until = float("-inf")
        if self._session:
            session, self._session = self._session, ""
            self._call(f"/v1/kv/{quote(self._key)}", "", release=session)
            self._call(f"/v1/session/destroy/{session}")

    def _created(self) -> str:
        body = {"Name": "dromos autoscale", "TTL": f"{self._ttl:g}s", "Behavior": "release", "LockDelay": LOCK_DELAY}
        answer = self._call("/v1/session/create", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("ID"), str):
            raise LockError(
                f"the lock {self._key} at {without_credentials(self._url)} cannot be held: no session in the answer"
            )
        return str(answer["ID"])

    def _renewed(self) -> bool:
        return self._call(f"/v1/session/renew/{self._session}") is not None

    def _call(self, path: str, body: object = None, **params: str) -> Any:
        """The JSON answer, None for a 404."""
        try:
            response = self._http.put(self._url + path, json=body, params=params, timeout=self._timeout)
            if response.status_code == 404:
                return None
            response.raise_for_status()
            return response.json()
        except (requests.RequestException, ValueError) as error:
            refused = isinstance(error, requests.HTTPError)
            reason = f"{response.status_code} {response.text[:200]}" if refused else reason_of(error)
            raise LockError(
                f"the lock {self._key} at {without_credentials(self._url)} cannot be held: {reason}"
            ) from None
