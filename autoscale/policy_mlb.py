"""marathon-lb-autoscale's flags in our keys, so that a file with its command line is a policy file.

`--apps web_10001,shop_api_10002` names apps as HAProxy's frontends of marathon-lb do: the id with `_` for `/`, and the service port.
"""

import shlex
from typing import Any

from autoscale.errors import PolicyError
from autoscale.policy_keys import seconds

INTERVAL, COOLDOWN, BREACHES = 60.0, 5.0, 3.0
TARGET = 1000.0
PROGRAM = "marathon-lb-autoscale"
# What the daemon's own settings are for, and what it does not need.
ELSEWHERE = {
    "marathon": "--marathon",
    "marathonCredentials": "--credentials",
    "haproxy": "--edge haproxy+http://HOST:9090",
}
NO_COUNTERPART = {
    "samples": "the demand is estimated, not averaged over a number of samples",
    "threshold-instances": "a change of one instance is worth making where it is needed",
}
KNOWN = {"apps", "target-rps", "interval", "cooldown", "intervals-past-threshold", "threshold-percent", "min-instances"}


def is_flags(text: str) -> bool:
    return text.lstrip().startswith(("--", PROGRAM, f"./{PROGRAM}")) and not text.lstrip().startswith("---")


def name_of(app_id: str) -> str:
    """An app's id as `--apps` writes it, without the port."""
    return app_id.strip("/").replace("/", "_")


def translate(text: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], tuple[str, ...]]:
    """Defaults, apps by name, and what has no counterpart. Raises PolicyError."""
    given = _flags(text)
    if "apps" not in given:
        raise PolicyError("--apps is missing: it names the apps, as <app>_<port>")
    number = {key: _number(key, value) for key, value in given.items() if key in KNOWN - {"apps"}}
    interval = number.get("interval", INTERVAL)
    defaults: dict[str, Any] = {
        "min": given.get("min-instances", 1),
        "down_after": interval * number.get("cooldown", COOLDOWN),
    }
    if "intervals-past-threshold" in number:
        defaults["up_after"] = interval * (number["intervals-past-threshold"] - 1)
    if "threshold-percent" in number:
        defaults["tolerance"] = number["threshold-percent"]
    apps = {
        _app(name): {"target": number.get("target-rps", TARGET)} for name in given["apps"].split(",") if name.strip()
    }
    notes = [f"--{key} is the daemon's own {ours}" for key, ours in ELSEWHERE.items() if key in given]
    notes += [f"--{key} has no effect: {why}" for key, why in NO_COUNTERPART.items() if key in given]
    return defaults, apps, tuple(notes)


def _flags(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise PolicyError(f"the flags cannot be read: {error}") from None
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if not found and word.endswith(PROGRAM):
                continue
            raise PolicyError(f"{word!r} is not a flag of {PROGRAM}")
        key, equals, value = word.removeprefix("--").partition("=")
        if key not in KNOWN | ELSEWHERE.keys() | NO_COUNTERPART.keys():
            raise PolicyError(f"--{key} is not a flag of {PROGRAM}")
        if not equals:
            if not words or words[0].startswith("--"):
                raise PolicyError(f"--{key} has no value")
            value = words.pop(0)
        while words and not words[0].startswith("--"):  # lists may be given as words
            value += "," + words.pop(0)
        found[key] = value
    return found


def _app(name: str) -> str:
    app, _, port = name.strip().rpartition("_")
    if not app or not port.isdecimal():
        raise PolicyError(f"--apps: {name!r} is not <app>_<port>")
    return app


def _number(key: str, value: str) -> float:
    try:
        return seconds(value)
    except (TypeError, ValueError):
        raise PolicyError(f"--{key}: {value!r} is not a number") from None
