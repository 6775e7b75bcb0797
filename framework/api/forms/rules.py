"""Rules that apps and pods share: ids, names, networks, environment, secrets, artifacts, constraints, roles, numbers.

Each takes a part of a canonical document and its path, and adds what is wrong to `found`. The texts are Marathon's.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from framework.api.errors import Violation
from framework.api.forms import patterns
from framework.api.labels import DEADLINE_LABEL, ON_FAILURE_LABEL
from framework.decide import rollout
from framework.decide.placement import LABEL as PLACEMENT_LABEL
from framework.engine.killing import DRAIN_LABEL, DRAIN_UNTIL, DRAIN_UNTIL_LABEL
from framework.model.constraint import OPERATORS

Document = dict[str, Any]

# A segment may be several labels with dots between them, as DNS names are.
_LABEL = r"([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])"
SEGMENT = rf"^({_LABEL}\.)*{_LABEL}|(\.|\.\.)$"
NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_segment, _name = re.compile(rf"({_LABEL}\.)*{_LABEL}"), re.compile(NAME)
_RESERVED = ("restart", "tasks", "versions", ".", "..")
LONGEST_TEXT = 1024
LONGEST_ID = 512
MOST_PORT = 65535
MOST_INSTANCES = 100_000


class Found:
    """What is wrong, in the order in which it was found."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def add(self, path: str, message: str) -> None:
        self.violations.append(Violation(path or "/", message))

    def between(self, path: str, value: float | None, least: float, most: float) -> None:
        if value is not None and not least <= value <= most:
            self.add(path, f"got {_shown(value)}, expected between {_shown(least)} and {_shown(most)}")

    def at_least(self, path: str, value: float | None, least: float) -> None:
        if value is not None and value < least:
            self.add(path, f"got {_shown(value)}, expected {_shown(least)} or more")

    def not_empty(self, path: str, value: Collection[Any] | None) -> None:
        if value is not None and not value:
            self.add(path, "must not be empty")

    def text(self, path: str, value: str | None, *, most: int = LONGEST_TEXT) -> None:
        """A text that Mesos will carry to an agent and an agent to the kernel: bounded, and without NUL."""
        if value is None:
            return
        if not value:
            self.add(path, "must not be empty")
        elif len(value) > most:
            self.add(path, f"must not be longer than {most} characters")
        elif "\0" in value:
            self.add(path, "must not contain a NUL character")

    def name(self, path: str, value: str | None) -> None:
        if value is None:
            return
        if not 1 <= len(value) <= 63:
            self.add(path, f"has size {len(value)}, expected between 1 and 63")
        if not _name.fullmatch(value):
            self.add(path, f"must fully match regular expression '{NAME}'")

    def unique(self, path: str, values: Iterable[Any], message: str) -> None:
        listed = list(values)
        if len(set(listed)) < len(listed):
            self.add(path, message)


def _shown(value: float) -> str:
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def every(
    path: str, items: Iterable[Document] | None, rule: Callable[[Found, str, Document], None], found: Found
) -> None:
    for index, item in enumerate(items or ()):
        rule(found, f"{path}({index})", item)


def id_rules(found: Found, path: str, run_spec_id: str) -> None:
    """Of an absolute id. That it clashes with no other one is for `root_rules` to see."""
    if run_spec_id == "/":
        found.add(path, "Path must contain at least one path element")
        return
    if len(run_spec_id) > LONGEST_ID:
        found.add(path, f"must not be longer than {LONGEST_ID} characters")
        return
    segments = run_spec_id[1:].split("/")
    if not all(_segment.fullmatch(segment) for segment in segments):
        found.add(path, f"must fully match regular expression '{SEGMENT}'")
    if segments[-1] in _RESERVED:
        found.add(path, f"must not end with any of the following: {', '.join(_RESERVED)}")


def dependency_rules(found: Found, path: str, dependencies: Iterable[str]) -> None:
    for index, dependency in enumerate(dependencies):
        if dependency != "/" and not all(_segment.fullmatch(segment) for segment in dependency[1:].split("/")):
            found.add(f"{path}({index})", f"must fully match regular expression '{SEGMENT}'")


def network_rules(found: Found, path: str, networks: list[Document]) -> None:
    host = [n for n in networks if n["mode"] == "host"]
    bridge = [n for n in networks if n["mode"] == "container/bridge"]
    container = [n for n in networks if n["mode"] == "container"]
    if any(network.get("name") or network.get("labels") for network in host):
        found.add(path, "Host networks may not have names or labels")
    if any(network.get("name") for network in bridge):
        found.add(path, "Bridge networks may not have names")
    names = [network["name"] for network in networks if network.get("name")]
    if len(set(names)) < len(names) or sum(not n.get("name") for n in container) > 1:
        found.add(path, "Duplicate networks are not allowed")
    kinds = [len(host), len(bridge), len(container)]
    if sum(count > 0 for count in kinds) > 1 or len(host) > 1 or len(bridge) > 1:
        found.add(path, "May specify a single host network, single bridge network, or else 1-to-n container networks")
    if any(not network.get("name") for network in container):
        found.add(path, "Network name must be specified when container network is selected.")


def env_rules(found: Found, path: str, env: Mapping[str, Any], secrets: Collection[str]) -> None:
    for name, value in env.items():
        if not 0 < len(name) < 255:
            found.add(path, f"name '{name[:40]}' has size {len(name)}, expected between 1 and 254")
        if "=" in name or "\0" in name:
            found.add(f"{path}/{name}", "a name must not contain '=' or a NUL character")
        if isinstance(value, str):
            if "\0" in value:
                found.add(f"{path}/{name}", "must not contain a NUL character")
        elif value["secret"] not in secrets:
            found.add(f"{path}/{name}/secret", f"references an undefined secret named '{value['secret']}'")


def label_rules(found: Found, path: str, labels: Mapping[str, str]) -> None:
    """Of the labels that this framework itself reads: a typing error must not pass for a setting."""
    for name in (DEADLINE_LABEL, DRAIN_LABEL):
        least = 0.0 if name == DRAIN_LABEL else 0.001
        if name in labels and not _is_number(labels[name], least):
            found.add(f"{path}/{name}", f"got '{labels[name][:40]}', expected a number of seconds")
    one_of = {
        ON_FAILURE_LABEL: ("stop", "rollback"),
        PLACEMENT_LABEL: ("binpack", "spread"),
        DRAIN_UNTIL_LABEL: DRAIN_UNTIL,
    }
    for name, choices in one_of.items():
        if name in labels and labels[name] not in choices:
            found.add(f"{path}/{name}", f"got '{labels[name][:40]}', expected one of: {', '.join(choices)}")
    for name, problem in rollout.problems(labels).items():
        found.add(f"{path}/{name}", problem)


def rollout_rules(
    found: Found, path: str, labels: Mapping[str, str], upgrade: Mapping[str, float], *, resident: bool
) -> None:
    if labels.get(rollout.STRATEGY_LABEL) == "blue-green" and (resident or upgrade.get("maximumOverCapacity", 1) < 1):
        found.add(f"{path}/{rollout.STRATEGY_LABEL}", rollout.NO_ROOM)


def _is_number(text: str, least: float) -> bool:
    try:
        return least <= float(text) <= 1e9
    except ValueError:
        return False


def secret_rules(found: Found, path: str, secrets: Mapping[str, Document]) -> None:
    for name, secret in secrets.items():
        found.not_empty(path, name)
        found.not_empty(f"{path}/{name}/source", secret["source"])


def fetch_rules(found: Found, path: str, fetch: Document) -> None:
    found.text(f"{path}/uri", fetch["uri"])
    found.text(f"{path}/destPath", fetch.get("destPath"))
    if fetch["uri"] and not _is_uri(fetch["uri"]):
        found.add(f"{path}/uri", "URI has invalid syntax.")


def _is_uri(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return not re.search(r"[\s<>\"{}|\\^`\x00-\x1f\x7f]", text)


def constraint_rules(found: Found, path: str, constraint: list[str]) -> None:
    """Of an app's `[field, operator, value?]`."""
    if not 2 <= len(constraint) <= 3:
        found.add(path, "Each constraint must have either 2 or 3 fields")
        return
    field, operator, value = (*constraint, None)[:3]
    if not field:
        found.add(path, "Missing field and operator")
    match operator:
        case "UNIQUE" if value is not None:
            found.add(path, "Value specified but not used")
        case "GROUP_BY" if value is not None and not _is_integer(value):
            found.add(path, "Value was specified but is not a number")
        case "MAX_PER" if value is None or not _is_integer(value):
            found.add(path, "Value was not specified or is not a number")
        case "IS" if value is None:
            found.add(path, "Missing value")
        case "LIKE" | "UNLIKE" if value is None:
            found.add(path, "A regular expression value must be provided")
        case "LIKE" | "UNLIKE" if value is not None:
            problem = patterns.problem(value)
            if problem:
                found.add(path, problem)
        case _ if operator not in OPERATORS:
            found.add(
                path,
                "Constraint operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS",
            )


def _is_integer(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,9}", value) is not None


def role_rules(
    found: Found, accepted: list[str] | None, role: str, allowed: Collection[str], *, accepted_path: str, resident: bool
) -> None:
    """`allowed` are the roles that a definition of this id may name."""
    if role not in allowed:
        found.add("/role", f"got {role}, expected one of: [{', '.join(sorted(allowed))}]")
    if accepted is None:
        return
    found.not_empty(accepted_path, accepted)
    if not set(accepted) <= {"*", role}:
        found.add(
            accepted_path, f"acceptedResourceRoles can only contain * and {role}, but contains: {', '.join(accepted)}"
        )
    if resident and accepted and accepted != ["*"]:
        found.add(accepted_path, 'A resident app must have `acceptedResourceRoles = ["*"]`.')


def limits_rules(found: Found, path: str, limits: Document | None, requested: Mapping[str, float]) -> None:
    for name, limit in (limits or {}).items():
        if limit != "unlimited" and limit < requested[name]:
            found.add(
                f"{path}/{name}",
                f"Resource limit must be greater than or equal to requested value ({requested[name]:g})",
            )


def upgrade_rules(found: Found, path: str, upgrade: Document, *, single: bool, resident: bool) -> None:
    least, over = upgrade["minimumHealthCapacity"], upgrade["maximumOverCapacity"]
    found.between(f"{path}/minimumHealthCapacity", least, 0, 1)
    found.between(f"{path}/maximumOverCapacity", over, 0, 1)
    if (single or resident) and over != 0:
        found.add(f"{path}/maximumOverCapacity", f"got {float(over)}, expected 0.0")
    if single and least != 0:
        found.add(f"{path}/minimumHealthCapacity", f"got {float(least)}, expected 0.0")


def unreachable_rules(found: Found, path: str, strategy: Document | str, *, resident: bool) -> None:
    if isinstance(strategy, str):
        return
    if resident:
        found.add(path, "unreachableStrategy must be disabled for resident tasks")
    inactive, expunge = strategy.get("inactiveAfterSeconds", 0), strategy.get("expungeAfterSeconds", 0)
    found.at_least(f"{path}/inactiveAfterSeconds", inactive, 0)
    found.at_least(f"{path}/expungeAfterSeconds", expunge, 0)
    if inactive > expunge:
        found.add(path, "inactiveAfterSeconds must be less than or equal to expungeAfterSeconds")


def backoff_rules(
    found: Found, paths: tuple[str, str, str], values: tuple[float | None, float | None, float | None]
) -> None:
    found.at_least(paths[0], values[0], 0)
    found.at_least(paths[1], values[1], 1)
    found.at_least(paths[2], values[2], 0)
