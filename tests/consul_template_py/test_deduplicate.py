"""Of several processes one renders for all, until it ends."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.consul import ConsulServer
from tests.support.processes import free_port, running
from tests.support.waiting import eventually

PROGRAM = [sys.executable, "-m", "consul_template_py.daemon"]


class Member:
    def __init__(self, out: Path, status: str, process: Any) -> None:
        self.out, self.status, self.process = out, status, process

    @property
    def template(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"http://{self.status}/status", timeout=30).json()["templates"][0]
        return found

    def reads(self, text: str) -> bool:
        return self.out.exists() and self.out.read_text() == text


Start = Callable[[str], contextlib.AbstractContextManager[Member]]


@pytest.fixture
def start(any_consul: ConsulServer, tmp_path: Path) -> Start:
    @contextlib.contextmanager
    def member(name: str) -> Iterator[Member]:
        out, status, config = tmp_path / f"{name}.out", f"127.0.0.1:{free_port()}", tmp_path / f"{name}.yaml"
        config.write_text(
            json.dumps(
                {
                    "consul": {"address": any_consul.address},
                    "template": [{"source": str(tmp_path / "in.j2"), "destination": str(out)}],
                    "deduplicate": {"enabled": True, "ttl": "60s"},
                    "status": {"listen": status},
                }
            )
        )
        with running([*PROGRAM, "-config", str(config)], log=tmp_path / f"{name}.log", env={"NAME": name}) as process:
            yield Member(out, status, process)

    return member


def test_the_others_write_what_the_leader_renders_and_one_takes_over(
    any_consul: ConsulServer, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "in.j2").write_text("{{ key('k') }}")
    any_consul.put("k", "1")
    with contextlib.ExitStack() as stack:
        leader = stack.enter_context(start("a"))
        eventually(lambda: leader.reads("1"))
        followers = [stack.enter_context(start(name)) for name in ("b", "c")]
        eventually(lambda: all(member.reads("1") for member in followers))
        eventually(lambda: leader.template["role"] == "leader" and leader.template["dependencies"] == ["key(k)"])
        for member in followers:
            eventually(lambda m=member: m.template["role"] == "follower" and m.template["dependencies"] == [])  # type: ignore[misc]
        any_consul.put("k", "2ü")
        eventually(lambda: all(member.reads("2ü") for member in (leader, *followers)))
        leader.process.terminate()
        eventually(lambda: sorted(m.template["role"] for m in followers) == ["follower", "leader"], 60)
        any_consul.put("k", "3")
        eventually(lambda: all(member.reads("3") for member in followers))


def test_a_killed_leader_is_replaced_when_its_session_ends(
    any_consul: ConsulServer, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "in.j2").write_text("{{ key('k') }}")
    any_consul.put("k", "1")
    with start("a") as a, start("b") as b:
        eventually(lambda: {a.template["role"], b.template["role"]} == {"leader", "follower"})
        leader, other = (a, b) if a.template["role"] == "leader" else (b, a)
        leader.process.kill()
        entries = any_consul.http.get("kv/consul-template/dedup/", recurse="").json()
        (session,) = {entry["Session"] for entry in entries if entry.get("Session")}
        any_consul.http.put(f"session/destroy/{session}").raise_for_status()  # as Consul does when the ttl has passed
        any_consul.put("k", "2")
        eventually(lambda: other.template["role"] == "leader" and other.reads("2"), 60)


def test_what_is_a_machines_own_is_rendered_by_each(any_consul: ConsulServer, tmp_path: Path, start: Start) -> None:
    (tmp_path / "in.j2").write_text("{{ env('NAME') }} {{ key('k') }}")
    any_consul.put("k", "1")
    with start("a") as one, start("b") as two:
        eventually(lambda: one.reads("a 1") and two.reads("b 1"))
        eventually(lambda: {one.template["role"], two.template["role"]} == {"leader", "own"})
        any_consul.put("k", "2")
        eventually(lambda: one.reads("a 2") and two.reads("b 2"))
        data = any_consul.http.get("kv/consul-template/dedup/", recurse="").json()
        assert b"a 1" not in json.dumps(data).encode()
