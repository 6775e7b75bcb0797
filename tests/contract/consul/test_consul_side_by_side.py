"""Any sequence of writes leaves the embedded Consul and the real one in the same state, with the same indexes moved."""

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, ClassVar

import orjson
import pytest
import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.support.consul import ConsulServer

KEYS = ("a", "a/b", "a/c", "ab", "b")
PREFIXES = ("", "a", "a/", "b/")
SERVICES = ("web", "db")
NODES = ("n1", "n2")
IDS = ("i1", "i2")

keys = st.sampled_from(KEYS)
small = st.sampled_from([b"", b"1", b"2"])
sessions = st.integers(0, 2)
statuses = st.sampled_from(["passing", "warning", "critical"])
cas = st.sampled_from(["current", "stale", "zero"])
TXN_VERBS = (
    "set",
    "cas",
    "lock",
    "unlock",
    "get",
    "get-tree",
    "delete",
    "delete-tree",
    "delete-cas",
    "check-not-exists",
)
Operation = tuple[str, str, bytes, str, int]  # of a transaction: verb, key, value, which index, which session


@dataclass(frozen=True)
class Answer:
    status: int
    index: int
    json: bool
    text: str


class Side:
    """One of the two servers, and this run's names on it. Reads are many, so they go over one plain connection."""

    def __init__(self, server: ConsulServer, run: str) -> None:
        self.http, self.run = server.http, run
        self.sessions: list[str] = []
        self._reading = HTTPConnection(server.host, server.port, timeout=30)

    def close(self) -> None:
        self._reading.close()

    def key(self, name: str) -> str:
        return f"kv/{self.run}/{name}"

    def get(self, path: str) -> Answer:
        self._reading.request("GET", f"/v1/{path}")
        answer = self._reading.getresponse()
        json = answer.getheader("Content-Type", "").startswith("application/json")
        return Answer(answer.status, int(answer.getheader("X-Consul-Index") or 0), json, answer.read().decode())

    def index(self, name: str, which: str) -> int:
        answer = self.get(self.key(name))
        now = orjson.loads(answer.text)[0]["ModifyIndex"] if answer.status == 200 else 0
        return {"current": now, "stale": max(now - 1, 0), "zero": 0}[which]

    def session(self, number: int) -> str:
        return self.sessions[number % len(self.sessions)] if self.sessions else str(uuid.UUID(int=1))

    def begin_session(self, behavior: str) -> requests.Response:
        answer = self.http.put("session/create", {"Behavior": behavior, "LockDelay": "0s", "NodeChecks": []})
        self.sessions.append(answer.json()["ID"])
        return answer

    def reads(self) -> list[str]:
        found = [self.key(name) for name in KEYS]
        found += [f"kv/{self.run}/{prefix}?recurse" for prefix in PREFIXES]
        for service in SERVICES:
            found += [f"{kind}/service/{self.run}-{service}" for kind in ("health", "catalog")]
        found += [f"catalog/node/{self.run}-{node}" for node in NODES]
        return [*found, "catalog/nodes", "catalog/services", "health/state/any", "session/list"]

    def look(self) -> dict[str, tuple[int, Any]]:
        """Index and content of every read; of the lists that other tests' leavings may be in, the index alone."""
        found = {}
        for path in self.reads():
            answer = self.get(path)
            assert answer.index, f"{path} has no index"
            content = self.plain(answer) if self.run in path else None
            found[path.replace(self.run, "RUN")] = answer.index, content
        return found

    def plain(self, answer: Answer) -> Any:
        """An answer without what the two cannot have in common."""
        text = answer.text.replace(self.run, "RUN")
        for number, id in enumerate(self.sessions):
            text = text.replace(id, f"session {number}")
        return answer.status, _without_indexes(orjson.loads(text)) if answer.json else text


def _of(response: requests.Response) -> Answer:
    json = response.headers.get("Content-Type", "").startswith("application/json")
    return Answer(response.status_code, 0, json, response.text)


def _without_indexes(value: Any) -> Any:
    if isinstance(value, dict):
        own = (
            {"CreateIndex", "ModifyIndex", "ID"}
            if "CreateIndex" in value and "Node" in value
            else {"CreateIndex", "ModifyIndex"}
        )
        return {key: _without_indexes(item) for key, item in value.items() if key not in own}
    return [_without_indexes(item) for item in value] if isinstance(value, list) else value


class SideBySide(RuleBasedStateMachine):
    servers: ClassVar[tuple[ConsulServer, ConsulServer]]

    def __init__(self) -> None:
        super().__init__()
        run = f"run-{uuid.uuid4().hex[:8]}"
        self.sides = tuple(Side(server, run) for server in self.servers)
        self.seen: list[dict[str, tuple[int, Any]]] = []

    @initialize()
    def begin(self) -> None:
        """Two sessions; and some service has lost its last instance: from then on an absent one has an index of its own."""
        for side in self.sides:
            body = {"Node": f"{side.run}-n0", "Address": "10.0.0.1", "Service": {"Service": f"{side.run}-gone"}}
            side.http.put("catalog/register", body)
            side.http.put("catalog/deregister", {"Node": f"{side.run}-n0"})
            for behavior in ("release", "delete"):
                side.begin_session(behavior)
        self.seen = [side.look() for side in self.sides]

    def both(self, step: Callable[[Side], requests.Response]) -> None:
        """The step gives the same answer on both sides, moves the same indexes, and leaves the same to read."""
        answers = [side.plain(_of(step(side))) for side in self.sides]
        after = [side.look() for side in self.sides]
        moved = [
            {path for path in now if now[path][0] != before[path][0]}
            for before, now in zip(self.seen, after, strict=True)
        ]
        self.seen = after
        assert answers[0] == answers[1]
        assert moved[0] == moved[1]
        assert {path: content for path, (_, content) in after[0].items()} == {
            path: content for path, (_, content) in after[1].items()
        }

    @rule(key=keys, value=small, flags=st.integers(0, 1))
    def put(self, key: str, value: bytes, flags: int) -> None:
        self.both(lambda side: side.http.put(side.key(key), data=value, flags=flags))

    @rule(key=keys, value=small, which=cas)
    def put_if(self, key: str, value: bytes, which: str) -> None:
        self.both(lambda side: side.http.put(side.key(key), data=value, cas=side.index(key, which)))

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.both(lambda side: side.http.delete(side.key(key)))

    @rule(key=keys, which=cas)
    def delete_if(self, key: str, which: str) -> None:
        self.both(lambda side: side.http.delete(side.key(key), cas=side.index(key, which)))

    @rule(prefix=st.sampled_from(PREFIXES))
    def delete_below(self, prefix: str) -> None:
        self.both(lambda side: side.http.delete(side.key(prefix), recurse=""))

    @rule(behavior=st.sampled_from(["release", "delete"]))
    def begin_session(self, behavior: str) -> None:
        self.both(lambda side: side.begin_session(behavior))

    @rule(number=sessions)
    def end_session(self, number: int) -> None:
        self.both(lambda side: side.http.put(f"session/destroy/{side.session(number)}"))

    @rule(key=st.sampled_from(KEYS[:2]), value=small, number=sessions, verb=st.sampled_from(["acquire", "release"]))
    def lock(self, key: str, value: bytes, number: int, verb: str) -> None:
        self.both(lambda side: side.http.put(side.key(key), data=value, **{verb: side.session(number)}))

    @rule(
        operations=st.lists(st.tuples(st.sampled_from(TXN_VERBS), keys, small, cas, sessions), min_size=1, max_size=4)
    )
    def transaction(self, operations: list[Operation]) -> None:
        # The texts of index checks tell indexes, which differ.
        if all(verb != "check-index" for verb, *_ in operations):
            self.both(lambda side: side.http.put("txn", _transaction(side, operations)))

    @rule(
        node=st.sampled_from(NODES),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        service=st.none() | st.tuples(st.sampled_from(IDS), st.sampled_from(["t1", "t2"])),
        check=st.none() | st.tuples(st.sampled_from(["c1", "c2"]), statuses, st.booleans()),
    )
    def register(
        self, node: str, address: str, service: tuple[str, str] | None, check: tuple[str, str, bool] | None
    ) -> None:
        self.both(lambda side: side.http.put("catalog/register", _registration(side, node, address, service, check)))

    @rule(
        node=st.sampled_from(NODES),
        what=st.sampled_from([{}, {"ServiceID": "i1"}, {"ServiceID": "i2"}, {"CheckID": "c1"}, {"CheckID": "sc1"}]),
    )
    def deregister(self, node: str, what: dict[str, str]) -> None:
        self.both(lambda side: side.http.put("catalog/deregister", {"Node": f"{side.run}-{node}", **what}))

    def teardown(self) -> None:
        for side in self.sides:
            for session in side.sessions:
                side.http.put(f"session/destroy/{session}")
            side.http.delete(f"kv/{side.run}/", recurse="")
            for node in NODES:
                side.http.put("catalog/deregister", {"Node": f"{side.run}-{node}"})
            side.close()


def _transaction(side: Side, operations: list[Operation]) -> list[dict[str, Any]]:
    return [
        {
            "KV": {
                "Verb": verb,
                "Key": f"{side.run}/{key}",
                "Value": base64.b64encode(value).decode(),
                "Index": side.index(key, which),
                "Session": side.session(number),
            }
        }
        for verb, key, value, which, number in operations
    ]


def _registration(
    side: Side, node: str, address: str, service: tuple[str, str] | None, check: tuple[str, str, bool] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"Node": f"{side.run}-{node}", "Address": address}
    if service:
        id, tag = service
        # An id keeps its service's name: the real one loses watchers of a name that is left.
        name = SERVICES[IDS.index(id)]
        body["Service"] = {"ID": id, "Service": f"{side.run}-{name}", "Tags": [tag]}
    if check:
        id, status, of_service = check
        body["Check"] = {"CheckID": id, "Status": status}
        if of_service:
            body["Check"] = {"CheckID": f"s{id}", "Status": status, "ServiceID": "i1"}
    return body


@pytest.mark.hypothesis
def test_any_sequence_of_writes_has_the_same_outcome(embedded_consul: ConsulServer, real_consul: ConsulServer) -> None:
    class OnBoth(SideBySide):
        servers = (embedded_consul, real_consul)

    run_state_machine_as_test(
        OnBoth,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            database=None,
            phases=(Phase.generate,),  # to shrink against two servers takes minutes, and the steps are few
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_node_that_goes_with_a_check_of_its_own_moves_the_list_of_services_too(
    embedded_consul: ConsulServer, real_consul: ConsulServer
) -> None:
    class OnBoth(SideBySide):
        servers = (embedded_consul, real_consul)

    state = OnBoth()
    try:
        state.begin()
        state.register(node="n2", address="10.0.0.1", service=None, check=("c2", "warning", False))
        state.deregister(node="n2", what={})
    finally:
        state.teardown()
