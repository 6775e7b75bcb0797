"""The catalog: nodes, the service instances on them, and their checks.

Which change moves which index is the real one's behaviour, measured: a change of a service instance moves that service's index and
`services`; a change of a check moves its service's index, or, for a check of a node, those of all services on the node; a change of
a node likewise. A service without instances has the index of the last time any service lost its last instance.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from embedded.consul.errors import FailedError
from embedded.consul.model import CRITICAL, Check, Node, Service, fold
from embedded.consul.state.ledger import CHECKS, EXTINCT, NODES, SERVICES, Ledger, service_topic
from embedded.consul.watch import Topic


class Instance(NamedTuple):
    """A service instance with all that decides whether it is healthy."""

    node: Node
    service: Service
    checks: list[Check]


class Catalog:
    """All names given are folded here; the values keep the case that they came in.

    `on_lost(node, check_id)` is called when a check turns critical or goes, with None when a node goes: sessions depend on them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.on_lost: Callable[[str, str | None], None] = lambda node, check: None
        self._nodes: dict[str, Node] = {}
        self._services: dict[str, dict[str, Service]] = {}  # node -> id -> instance
        self._instances: dict[str, dict[tuple[str, str], Service]] = {}  # service name -> (node, id) -> instance
        self._node_checks: dict[str, dict[str, Check]] = {}  # node -> check id -> check of the node
        self._service_checks: dict[tuple[str, str], dict[str, Check]] = {}  # (node, service id) -> check id -> check
        self._check_service: dict[tuple[str, str], str] = {}  # (node, check id) -> service id, "" for the node's own

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def node(self, name: str) -> Node | None:
        return self._nodes.get(fold(name))

    def nodes(self) -> list[Node]:
        return [self._nodes[name] for name in sorted(self._nodes)]

    def service(self, node: str, id: str) -> Service | None:
        return self._services.get(fold(node), {}).get(fold(id))

    def services_on(self, node: str) -> list[Service]:
        services = self._services.get(fold(node), {})
        return [services[id] for id in sorted(services)]

    def names(self) -> dict[str, list[Service]]:
        """Every service's instances, by the service's name."""
        return {next(iter(them.values())).name: list(them.values()) for them in self._instances.values()}

    def instances(self, service: str) -> list[Service]:
        """In the order of node and id."""
        them = self._instances.get(fold(service), {})
        return [them[key] for key in sorted(them)]

    def health(self, service: str) -> list[Instance]:
        return [
            Instance(self._nodes[fold(it.node)], it, [*self.node_checks(it.node), *self.service_checks(it)])
            for it in self.instances(service)
        ]

    def check(self, node: str, id: str) -> Check | None:
        key = fold(node), fold(id)
        service_id = self._check_service.get(key)
        if service_id is None:
            return None
        return self._checks_of(key[0], service_id).get(key[1])

    def node_checks(self, node: str) -> list[Check]:
        """The checks of the node itself, not of its services."""
        return _by_id(self._node_checks.get(fold(node), {}))

    def service_checks(self, service: Service) -> list[Check]:
        """The checks of one instance, not of its node."""
        return _by_id(self._service_checks.get(service.key, {}))

    def checks_on(self, node: str) -> list[Check]:
        """All checks on a node: its own and its services'."""
        at = fold(node)
        found = dict(self._node_checks.get(at, {}))
        for id in self._services.get(at, {}):
            found |= self._service_checks.get((at, id), {})
        return _by_id(found)

    def all_checks(self) -> Iterator[Check]:
        for node in sorted(self._nodes):
            yield from self.checks_on(node)

    def checks_of_service(self, service: str) -> list[Check]:
        return [check for it in self.instances(service) for check in self.service_checks(it)]

    def service_topics(self, name: str, *, checks: bool) -> tuple[Topic, ...]:
        """What can change the index of a query for one service."""
        topic = service_topic(name)
        return (topic,) if fold(name) in self._instances else (topic, *self._absent_topics(checks=checks))

    def service_index(self, name: str, *, checks: bool) -> int:
        if fold(name) in self._instances:
            return self.ledger.index_of(service_topic(name))
        return self.ledger.index_of(*self._absent_topics(checks=checks))

    def _absent_topics(self, *, checks: bool) -> tuple[Topic, ...]:
        """What decides the index of a query for a service that has no instances."""
        if self.ledger.has(EXTINCT):
            return (EXTINCT,)
        return (NODES, SERVICES, CHECKS) if checks else (NODES, SERVICES)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def register(self, node: Node | None, service: Service | None, checks: Iterable[Check], *, on: str) -> int:
        """One write: the node where one is given, then a service on it, then checks. Its index. Raises FailedError."""
        checks = list(checks)
        for check in checks:
            self._refuse_orphan(check, service)
        index = self.ledger.next()
        if node is not None:
            self._put_node(node)
        elif fold(on) not in self._nodes:
            self._put_node(Node(on))
        if service is not None:
            self._put_service(service)
        for check in checks:
            self._put_check(check)
        return index

    def deregister_node(self, name: str) -> None:
        self.ledger.next()
        self._remove_node(fold(name))

    def deregister_service(self, node: str, id: str) -> None:
        self.ledger.next()
        self._remove_service(fold(node), fold(id))

    def deregister_check(self, node: str, id: str) -> None:
        self.ledger.next()
        self._remove_check(fold(node), fold(id))

    def restore(self, nodes: Iterable[Node], services: Iterable[Service], checks: Iterable[Check]) -> None:
        """Takes rows that were saved, without a new write."""
        for node in nodes:
            self._nodes[fold(node.name)] = node
        for service in services:
            self._place(service)
            self.ledger.bump(service_topic(service.name))
        for check in checks:
            self._attach(check)

    def _put_node(self, node: Node) -> None:
        key = fold(node.name)
        before = self._nodes.get(key)
        renamed = self._renamed(node)
        if renamed and renamed != key:
            before = self._nodes[renamed]
            self._remove_node(renamed)
        if before == node:
            return
        index = self.ledger.index
        node = replace(node, created=before.created if before else index, modified=index)
        self._nodes[key] = node
        self.ledger.save(NODES, key, node)
        self.ledger.bump(NODES, *self._topics_on(key))

    def _renamed(self, node: Node) -> str | None:
        """The node that has this id already, under whatever name."""
        return next((key for key, other in self._nodes.items() if node.id and other.id == node.id), None)

    def _put_service(self, service: Service) -> None:
        node, id = service.key
        before = self._services.get(node, {}).get(id)
        if before == service:
            return
        index = self.ledger.index
        service = replace(service, created=before.created if before else index, modified=index)
        if before and fold(before.name) != fold(service.name):
            self._leave(before)
        self._place(service)
        self.ledger.save(SERVICES, f"{node}\0{id}", service)
        self.ledger.bump(SERVICES, service_topic(service.name))

    def _put_check(self, check: Check) -> None:
        node, id, service_id = fold(check.node), fold(check.id), fold(check.service_id)
        service = self._services.get(node, {}).get(service_id)
        if service:
            check = replace(check, service_name=service.name, service_tags=service.tags)
        before = self.check(node, id)
        self.ledger.bump(CHECKS)  # also where nothing has changed
        if before == check:
            return
        index = self.ledger.index
        check = replace(check, created=before.created if before else index, modified=index)
        if before and fold(before.service_id) != service_id:
            del self._checks_of(node, fold(before.service_id))[id]
        self._attach(check)
        self.ledger.save(CHECKS, f"{node}\0{id}", check)
        self.ledger.bump(*([service_topic(service.name)] if service else self._topics_on(node)))
        if check.status == CRITICAL:
            self.on_lost(node, id)

    def _refuse_orphan(self, check: Check, registered: Service | None) -> None:
        here = registered is not None and registered.key == (fold(check.node), fold(check.service_id))
        if check.service_id and not here and self.service(check.node, check.service_id) is None:
            raise FailedError(f'failed inserting check: Missing service registration on node "{check.node}"')

    def _remove_node(self, key: str) -> None:
        if key not in self._nodes:
            return
        topics = self._topics_on(key)
        for id in list(self._services.get(key, {})):
            self._remove_service(key, id)
        if self._node_checks.get(key):
            self.ledger.bump(SERVICES, CHECKS)
        for id in self._node_checks.pop(key, {}):
            del self._check_service[key, id]
            self.ledger.save(CHECKS, f"{key}\0{id}", None)
        self._services.pop(key, None)
        del self._nodes[key]
        self.ledger.save(NODES, key, None)
        self.ledger.bump(NODES, *(topic for topic in topics if self.ledger.has(topic)))
        self.on_lost(key, None)

    def _remove_service(self, node: str, id: str) -> None:
        service = self._services.get(node, {}).pop(id, None)
        if service is None:
            return
        for check_id in self._service_checks.pop((node, id), {}):
            del self._check_service[node, check_id]
            self.ledger.save(CHECKS, f"{node}\0{check_id}", None)
            self.on_lost(node, check_id)
        self.ledger.save(SERVICES, f"{node}\0{id}", None)
        self.ledger.bump(SERVICES, CHECKS)
        self._leave(service)

    def _remove_check(self, node: str, id: str) -> None:
        service_id = self._check_service.pop((node, id), None)
        if service_id is None:
            return
        del self._checks_of(node, service_id)[id]
        self.ledger.save(CHECKS, f"{node}\0{id}", None)
        self.ledger.bump(CHECKS)
        if service := self._services.get(node, {}).get(service_id):
            self.ledger.bump(service_topic(service.name))
        else:
            self.ledger.bump(SERVICES, *self._topics_on(node))
        self.on_lost(node, id)

    def _place(self, service: Service) -> None:
        node, id = service.key
        self._services.setdefault(node, {})[id] = service
        self._instances.setdefault(fold(service.name), {})[node, id] = service

    def _leave(self, service: Service) -> None:
        """The instance is no longer one of its service."""
        name = fold(service.name)
        del self._instances[name][service.key]
        if self._instances[name]:
            self.ledger.bump(service_topic(name))
        else:
            del self._instances[name]
            self.ledger.bump(EXTINCT)
            self.ledger.forget(service_topic(name))

    def _attach(self, check: Check) -> None:
        node, service_id = fold(check.node), fold(check.service_id)
        self._checks_of(node, service_id)[fold(check.id)] = check
        self._check_service[node, fold(check.id)] = service_id

    def _checks_of(self, node: str, service_id: str) -> dict[str, Check]:
        if service_id:
            return self._service_checks.setdefault((node, service_id), {})
        return self._node_checks.setdefault(node, {})

    def _topics_on(self, node: str) -> set[Topic]:
        return {service_topic(service.name) for service in self._services.get(node, {}).values()}


def _by_id(checks: dict[str, Check]) -> list[Check]:
    return [checks[id] for id in sorted(checks)]
