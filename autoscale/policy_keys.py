"""A policy out of keys and values: the labels of an app (`DROMOS_AUTOSCALE_TARGET=20`) or an app's table in a policy file.

The keys are the same in both; labels write them in capitals. All that is wrong is told at once, in one line.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

from autoscale.errors import PolicyError
from autoscale.policy import Behaviour, Kind, Policy, Rate, Signal
from autoscale.schedule import Schedule, checked
from daemonkit.settings import parse_seconds

V = TypeVar("V")
PREFIX = "DROMOS_AUTOSCALE_"

MEASURES: dict[str, Kind] = {
    "target": "requests",
    "concurrency": "concurrency",
    "latency": "latency",
    "cpu": "cpu",
    "memory": "memory",
    "queue": "queue",
    "query_target": "query",
}
KEYS = frozenset(MEASURES) | {
    *("queue_url", "queue_path", "query", "min", "max", "tolerance", "down_after", "up_after", "up_rate", "down_rate"),
    *("up_select", "down_select", "flaps", "idle_after", "forecast", "schedule", "shadow", "enabled"),
    "keep",  # read by the API
}
MOST_INSTANCES = 10_000
LEAST_TARGET, MOST_TARGET = 1e-6, 1e9  # of whatever an instance is to carry
MOST_TOLERANCE = 10.0
LONGEST = 7 * 86_400.0  # seconds
MOST_RATE = 1e6  # instances, or percent, in a period
MOST_LISTED = 20  # rates, or windows of a schedule
NO_SCHEDULES: tuple[Schedule, ...] = ()
NO_RATES: tuple[Rate, ...] = ()
LONGEST_TEXT = 2000


def of_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """What an app's labels say, by key."""
    return {key.removeprefix(PREFIX).lower(): value for key, value in labels.items() if key.startswith(PREFIX)}


def parse(given: Mapping[str, Any], *, name: Callable[[str], str] = str) -> Policy | None:
    """The policy that `given` asks for; None where it measures nothing, or says `enabled=false`. Raises PolicyError."""
    if not any(key in given for key in MEASURES):
        return None
    return _Reader(given, name).policy()


class _Reader:
    def __init__(self, given: Mapping[str, Any], name: Callable[[str], str]) -> None:
        self._given, self._name = given, name
        self._wrong: list[str] = []

    def policy(self) -> Policy | None:
        for key in sorted(self._given.keys() - KEYS):
            self._wrong.append(f"{self._name(key)} is not known; known are {', '.join(sorted(KEYS))}")
        enabled = self._read("enabled", True, _truth)
        lowest = self._whole("min", Policy.min, 0)
        highest = self._whole("max", max(Policy.max, lowest), 1)
        if lowest > highest:
            self._wrong.append(f"{self._name('min')}={lowest} is above {self._name('max')}={highest}")
        signals = self._signals()
        flaps, flap_window = self._read("flaps", (Policy.flaps, Policy.flap_window), _flaps)
        found: dict[str, Any] = dict(  # noqa: C408  reads as the call that it becomes
            target=signals[0].target if signals else math.inf,
            min=lowest,
            max=highest,
            tolerance=self._number("tolerance", Policy.tolerance, 0, MOST_TOLERANCE),
            down_after=self._seconds("down_after", Policy.down_after),
            forecast=self._read("forecast", Policy.forecast, _choice("auto", "on", "off")),
            signals=() if [signal.kind for signal in signals] == ["requests"] else tuple(signals),
            up=self._behaviour("up", self._seconds("up_after", 0.0)),
            down=self._behaviour("down", 0.0),
            flaps=flaps,
            flap_window=flap_window,
            schedules=self._read("schedule", NO_SCHEDULES, schedules),
            idle_after=self._seconds("idle_after", Policy.idle_after),
            shadow=self._read("shadow", Policy.shadow, _truth),
        )
        if self._wrong:
            raise PolicyError("; ".join(self._wrong))
        return Policy(**found) if enabled else None

    def _signals(self) -> list[Signal]:
        found = []
        for key, kind in MEASURES.items():
            if key not in self._given:
                continue
            target = self._seconds(key, 0) if kind == "latency" else self._number(key, 0, 0, MOST_TARGET)
            if target <= 0 and not self._wrong:
                self._wrong.append(f"{self._name(key)}={_shown(self._given[key])} is to be above 0")
            elif target < LEAST_TARGET and not self._wrong:
                self._wrong.append(f"{self._name(key)}={_shown(self._given[key])} is to be at least {LEAST_TARGET:g}")
            found.append(Signal(kind, target, **self._source_of(kind)))
        return found

    def _source_of(self, kind: Kind) -> dict[str, str]:
        """What a signal needs to know besides its target."""
        needed = {"queue": {"url": "queue_url", "path": "queue_path"}, "query": {"query": "query"}}.get(kind, {})
        found = {field: self._read(key, "", _text) for field, key in needed.items()}
        for field, key in needed.items():
            if not found[field] and field != "path":
                self._wrong.append(f"{self._name(key)} is missing: it says where the {kind} is read")
        return found

    def _behaviour(self, direction: str, stabilisation: float) -> Behaviour:
        rates = self._read(f"{direction}_rate", NO_RATES, _rates)
        select = self._read(f"{direction}_select", "max", _choice("max", "min", "off"))
        return Behaviour(stabilisation, rates, cast(Literal["max", "min", "off"], select))

    # --- values

    def _read(self, key: str, default: V, parse: Callable[[Any], V]) -> V:
        value = self._given.get(key)
        if value is None:
            return default
        try:
            return parse(value)
        except PolicyError as error:
            self._wrong.append(f"{self._name(key)}: {error}")
        except (TypeError, ValueError):
            self._wrong.append(f"{self._name(key)}={_shown(value)} is not a number")
        return default

    def _number(
        self, key: str, default: float, least: float, most: float, parse: Callable[[Any], float] = float
    ) -> float:
        value = self._read(key, default, parse)
        if least <= value <= most:
            return value
        bound = f"at most {most:g}" if value > most else f"at least {least:g}"
        self._wrong.append(f"{self._name(key)}={_shown(self._given[key])} is to be {bound}")
        return default

    def _whole(self, key: str, default: int, least: int) -> int:
        return int(self._number(key, default, least, MOST_INSTANCES, _whole))

    def _seconds(self, key: str, default: float) -> float:
        return self._number(key, default, 0, LONGEST, seconds)


def seconds(value: Any) -> float:
    return float(cast(float, parse_seconds(value)))


def _whole(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _shown(value: Any) -> str:
    return repr(value)[:100]


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise PolicyError(f"{_shown(value)} is not a text of at most {LONGEST_TEXT} characters")
    return value


def _truth(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise PolicyError(f"{_shown(value)} is neither true nor false")
    return text == "true"


def _choice(*known: str) -> Callable[[Any], Any]:
    def parse(value: Any) -> str:
        # YAML and TOML read a bare `off` or `on` as a truth value.
        text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value).strip().lower()
        if text not in known:
            raise PolicyError(f"{_shown(value)} is none of {', '.join(known)}")
        return text

    return parse


def _items(value: Any, separator: str) -> Sequence[Any]:
    found = value if isinstance(value, list) else [part.strip() for part in str(value).split(separator) if part.strip()]
    if len(found) > MOST_LISTED:
        raise PolicyError(f"{len(found)} are given, {MOST_LISTED} are the most")
    return found


def _rates(value: Any) -> tuple[Rate, ...]:
    """`100%/15s, 4/15s`: double it or add four, in 15 seconds."""
    found = []
    for item in _items(value, ","):
        amount, slash, period = str(item).partition("/")
        percent = amount.strip().endswith("%")
        try:
            rate = Rate(
                "percent" if percent else "instances", float(amount.strip().rstrip("%")), seconds(period.strip())
            )
        except (TypeError, ValueError):
            raise PolicyError(f"{_shown(item)} is not a rate like 100%/15s or 4/1m") from None
        if not slash or not (0 < rate.value <= MOST_RATE and 0 < rate.period <= LONGEST):
            raise PolicyError(
                f"{_shown(item)} is not a rate like 100%/15s or 4/1m, above 0 and at most {MOST_RATE:g} in a week"
            )
        found.append(rate)
    return tuple(found)


def _flaps(value: Any) -> tuple[int | None, float]:
    """`20/1h`: twenty starts and stops an hour."""
    amount, _, window = str(value).partition("/")
    try:
        found = int(amount), seconds(window.strip() or str(Policy.flap_window))
    except (TypeError, ValueError):
        raise PolicyError(f"{_shown(value)} is not a number of starts and stops in a time like 20/1h") from None
    if found[0] < 0 or not 0 < found[1] <= LONGEST:
        raise PolicyError(f"{_shown(value)} is not a number of starts and stops in a time like 20/1h")
    return found


def schedules(value: Any) -> tuple[Schedule, ...]:
    """`0 8 * * 1-5 for 10h Europe/Berlin min=4 max=20`, several between semicolons, or a list of such texts."""
    return tuple(_schedule(str(item)) for item in _items(value, ";"))


def _schedule(text: str) -> Schedule:
    words = text.split()
    cron, rest = words[:5], words[5:]
    length, zone = 0.0, "UTC"
    bounds: dict[str, int] = {}
    while rest:
        word = rest.pop(0)
        key, _, value = word.partition("=")
        try:
            if word == "for" and rest:
                length = seconds(rest.pop(0))
            elif key in ("min", "max") and key not in bounds:
                bounds[key] = int(value)
            elif zone == "UTC" and not value:
                zone = word
            else:
                raise ValueError
        except (TypeError, ValueError):
            raise PolicyError(
                f"{text!r} is not a schedule like '0 8 * * 1-5 for 10h Europe/Berlin min=4' (at {word!r})"
            ) from None
    return checked(Schedule(" ".join(cron), length, zone, **bounds))
