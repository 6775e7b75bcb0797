"""Values of Prometheus queries.

Source: Prometheus' HTTP API, "Instant queries". `lookback_delta` bounds how old a sample may be that still counts; without it a target
that is gone would be believed for five minutes.
"""

import math

import orjson
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.sample import Quality, Sample
from daemonkit.addresses import without_credentials


class Prometheus:
    def __init__(self, url: str, *, timeout: float, lookback: float) -> None:
        self._url = url.rstrip("/")
        self._timeout, self._lookback = timeout, lookback
        self._session = requests.Session()
        self._session.trust_env = False

    def value(self, query: str, now: float) -> Sample:
        """The sum of the query's series. No series: nothing is known. Zero proves nothing: a series that ended may be the reason.

        Raises MetricsError.
        """
        params = {"query": query, "lookback_delta": f"{self._lookback:g}s", "timeout": f"{self._timeout:g}s"}
        answer = fetching.get(
            self._session,
            f"{self._url}/api/v1/query",
            what=f"Prometheus' answer to {query[:200]!r}",
            timeout=self._timeout,
            params=params,
        )
        try:
            values = _values(orjson.loads(answer.body)["data"])
        except (ValueError, KeyError, TypeError, IndexError):
            raise MetricsError(
                f"Prometheus at {without_credentials(self._url)} answered {query[:200]!r} with no number"
            ) from None
        total = sum(values)
        if not values or not math.isfinite(total) or total < 0:
            return Sample(now, 0.0, Quality.STALE)
        return Sample(now, total, Quality.FRESH if total > 0 else Quality.UNPROVEN_ZERO)


def _values(data: dict[str, object]) -> list[float]:
    result = data["result"]
    match data["resultType"]:
        case "scalar":
            return [float(result[1])]  # type: ignore[index]
        case "vector":
            return [float(series["value"][1]) for series in result]  # type: ignore[attr-defined]
    raise ValueError(data["resultType"])
