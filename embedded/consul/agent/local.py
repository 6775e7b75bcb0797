"""The agent's own list of services and checks, and how it is kept the same in the catalog.

Status changes go to the catalog at once; a new output alone waits, so that a chatty check does not wake every watcher.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from embedded.consul.agent.definition import CheckDefinition
from embedded.consul.errors import FailedError, NotFoundError
from embedded.consul.model import (
    CRITICAL,
    NODE_MAINTENANCE,
    PASSING,
    SERVICE_MAINTENANCE,
    Check,
    Node,
    Service,
)
from embedded.consul.state.ledger import Save
from embedded.consul.state.state import State
from embedded.consul.watch import Topic

AGENT_SERVICES, AGENT_CHECKS = "agent-services", "agent-checks"
DEFAULT_REASONS = {
    "node": "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.",
    "service": "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.",
}
SERF_HEALTH = "serfHealth"


def local_service_topic(id: str) -> Topic:
    return "agent service", id


class Runner(Protocol):
    """What runs the checks, and calls the agent back with what it finds."""

    def start(self, definition: CheckDefinition) -> None:
        """Starts a check, or starts it afresh if it runs already."""

    def stop(self, id: str) -> None:
        """Stops it; an unknown one is none of its business."""

    def heard(self, definition: CheckDefinition) -> None:
        """A TTL check was reported: its time begins again."""

    def later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Calls it once, then; a name that waits already keeps its place."""

    def now(self) -> float:
        """Monotonic seconds."""


@dataclass(frozen=True)
class Limits:
    """`deregister_least`: a critical service is not removed sooner than that, whatever its check says."""

    output_size: int = 4096
    output_delay: float = 300.0
    deregister_least: float = 60.0


@dataclass
class LocalCheck:
    definition: CheckDefinition
    check: Check
    critical_since: float | None = None


class LocalAgent:
    def __init__(self, node: Node, state: State, runner: Runner, limits: Limits, save: Save) -> None:
        self.node = node
        self.services: dict[str, Service] = {}
        self.checks: dict[str, LocalCheck] = {}
        self._checks_of: dict[str, set[str]] = {}  # service id, "" for the node's own -> check ids
        self._state = state
        self._runner = runner
        self._limits = limits
        self._save = save

    def begin(self, server_port: int, meta: dict[str, str]) -> None:
        """Puts the node itself into the catalog, with the check and the service that every server has."""
        consul = Service(self.node.name, "consul", "consul", port=server_port, meta=meta)
        health = Check(self.node.name, SERF_HEALTH, "Serf Health Status", PASSING, output="Agent alive and reachable")
        self._state.catalog.register(self.node, consul, [health], on=self.node.name)

    def restore(self, services: Iterable[Service], definitions: Iterable[CheckDefinition]) -> None:
        """Takes what was registered before a restart; every check keeps the status that it had."""
        for service in services:
            self.services[service.id] = service
        for definition in definitions:
            known = self._state.catalog.check(self.node.name, definition.id)
            local = LocalCheck(definition, known or definition.first(self.node.name))
            if local.check.status == CRITICAL:
                local.critical_since = self._runner.now()
            self._keep(local)
            self._runner.start(definition)

    # ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def register_service(self, service: Service, checks: list[CheckDefinition], *, replace_checks: bool) -> None:
        """Adds or changes a service. Checks that it has already keep their status; others are kept, or removed, as asked."""
        known = self._state.catalog.service(self.node.name, service.id)
        if known and service.enable_tag_override:
            service = replace(service, tags=known.tags)
        old = set(self._checks_of.get(service.id, ()))
        self.services[service.id] = service
        self._save(AGENT_SERVICES, service.id, service)
        for definition in checks:
            self._place_check(definition)
        if replace_checks:
            for id in old - {definition.id for definition in checks}:
                self.deregister_check(id)
        catalog = [self.checks[definition.id].check for definition in checks]
        if catalog or service != known:
            self._state.catalog.register(None, service, catalog, on=self.node.name)
        self._changed(service.id)

    def deregister_service(self, id: str) -> None:
        if not id:
            raise FailedError("ServiceID missing")
        if self.services.pop(id, None) is None:
            return
        for check_id in list(self._checks_of.get(id, ())):
            self._drop_check(check_id)
        self._save(AGENT_SERVICES, id, None)
        self._state.catalog.deregister_service(self.node.name, id)
        self._changed(id)

    def service_checks(self, id: str) -> list[Check]:
        """The checks of one service, and those of the node itself, by id."""
        mine = self._checks_of.get("", set()) | self._checks_of.get(id, set())
        return [self.checks[key].check for key in sorted(mine)]

    # ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def register_check(self, definition: CheckDefinition) -> None:
        """Adds or changes a check; one that is there already keeps its status."""
        if definition.service_id and definition.service_id not in self.services:
            raise FailedError(f'ServiceID "{definition.service_id}" does not exist')
        self._place_check(definition)
        self._sync(definition.id)

    def deregister_check(self, id: str) -> None:
        if not id:
            raise FailedError("CheckID missing")
        if self._drop_check(id):
            self._state.catalog.deregister_check(self.node.name, id)

    def report(self, id: str, status: str, output: str) -> None:
        """What the owner of a TTL check says of it."""
        local = self.checks.get(id)
        if local is None or not local.definition.ttl:
            raise FailedError(f'CheckID "{id}" does not have associated TTL')
        size = self.output_size(local.definition)
        if len(raw := output.encode()) > size:
            kept = raw[:size].decode(errors="ignore")
            output = f"{kept} ... (captured {size} of {len(raw)} bytes)"
        self._runner.heard(local.definition)
        self.update(id, status, output)

    def update(self, id: str, status: str, output: str) -> None:
        """The new status of a check. It may be gone meanwhile."""
        local = self.checks.get(id)
        if local is None:
            return
        if status != CRITICAL:
            local.critical_since = None
        elif local.critical_since is None:
            local.critical_since = self._runner.now()
        before = local.check
        if (before.status, before.output) == (status, output):
            return
        local.check = replace(before, status=status, output=output)
        if before.status == status and self._limits.output_delay > 0:
            delay = self._limits.output_delay * (0.5 + random.random())
            self._runner.later(f"output of {id}", delay, lambda: self._sync(id))
        else:
            self._sync(id)

    def output_size(self, definition: CheckDefinition) -> int:
        return min(definition.output_max_size or self._limits.output_size, self._limits.output_size)

    def expired(self, id: str) -> None:
        """Nobody has reported this TTL check in time."""
        local = self.checks.get(id)
        if local:
            last = local.check.output
            repeats = last.startswith("TTL expired")
            more = f" (last output before timeout follows): {last}" if last and not repeats else ""
            self.update(id, CRITICAL, last if repeats else f"TTL expired{more}")

    def reap(self) -> list[str]:
        """Removes the services that have been critical for as long as one of their checks allows; their ids."""
        now = self._runner.now()
        reaped = set()
        for local in self.checks.values():
            after = local.definition.deregister_after
            since, service_id = local.critical_since, local.definition.service_id
            if after and service_id and since is not None and now - since > max(after, self._limits.deregister_least):
                reaped.add(service_id)
        for id in sorted(reaped):
            self.deregister_service(id)
        return sorted(reaped)

    # ── maintenance ──────────────────────────────────────────────────────────────────────────────────────────────────

    def service_maintenance(self, id: str, *, enable: bool, reason: str) -> None:
        if id not in self.services:
            raise NotFoundError(f'No service registered with ID "{id}"')
        why = reason or DEFAULT_REASONS["service"]
        self._maintenance(SERVICE_MAINTENANCE + id, "Service Maintenance Mode", id, enable=enable, reason=why)

    def node_maintenance(self, *, enable: bool, reason: str) -> None:
        why = reason or DEFAULT_REASONS["node"]
        self._maintenance(NODE_MAINTENANCE, "Node Maintenance Mode", "", enable=enable, reason=why)

    def _maintenance(self, id: str, name: str, service_id: str, *, enable: bool, reason: str) -> None:
        if not enable:
            self.deregister_check(id)
        elif id not in self.checks:
            self.register_check(CheckDefinition(id, name, service_id, CRITICAL, reason, maintenance=True))

    # ── the catalog ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _place_check(self, definition: CheckDefinition) -> None:
        before = self.checks.get(definition.id)
        check = definition.first(self.node.name)
        if service := self.services.get(definition.service_id):
            check = replace(check, service_name=service.name, service_tags=service.tags)
        local = LocalCheck(definition, check)
        if before:
            local.check = replace(check, status=before.check.status, output=before.check.output)
            local.critical_since = before.critical_since
            self._forget(before)
        self._keep(local)
        self._save(AGENT_CHECKS, definition.id, definition)
        self._runner.start(definition)

    def _keep(self, local: LocalCheck) -> None:
        self.checks[local.definition.id] = local
        self._checks_of.setdefault(local.definition.service_id, set()).add(local.definition.id)

    def _forget(self, local: LocalCheck) -> None:
        del self.checks[local.definition.id]
        mine = self._checks_of[local.definition.service_id]
        mine.discard(local.definition.id)
        if not mine:
            del self._checks_of[local.definition.service_id]

    def _drop_check(self, id: str) -> bool:
        local = self.checks.get(id)
        if local is None:
            return False
        self._forget(local)
        self._runner.stop(id)
        self._save(AGENT_CHECKS, id, None)
        return True

    def _sync(self, id: str) -> None:
        local = self.checks.get(id)
        if local:
            self._state.catalog.register(None, None, [local.check], on=self.node.name)

    def _changed(self, service_id: str) -> None:
        self._state.ledger.watches.wake(local_service_topic(service_id))
