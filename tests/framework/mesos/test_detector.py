"""Who leads among the masters, as a real ZooKeeper tells it."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError
from kazoo.retry import KazooRetry

from framework.mesos.detector import ZooKeeperAddress, ZooKeeperDetector, parse_master
from framework.mesos.errors import MasterAddressError
from tests.support.waiting import eventually
from tests.support.zookeeper import Ensemble

PATIENCE = 60.0
pytestmark = pytest.mark.xdist_group("zookeeper")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.1:5051", "10.0.0.1:5051"),
        ("master.example", "master.example:5050"),
        ("http://master.example:80/", "master.example:80"),
        ("[::1]:5050", "[::1]:5050"),
        ("zk://a:2181,b:2181/mesos", ZooKeeperAddress("a:2181,b:2181", "/mesos")),
        ("zk://me:secret@a:2181/mesos/eu/", ZooKeeperAddress("a:2181", "/mesos/eu", "me:secret")),
    ],
)
def test_an_address_is_a_master_or_a_path_in_zookeeper(text: str, found: object):
    assert parse_master(text) == found


@pytest.mark.parametrize("text", ["zk://a:2181", "zk://a:2181/", "", "a b:5050", "a:port", "zk:///mesos"])
def test_what_is_neither_is_said_in_one_line(text: str):
    with pytest.raises(MasterAddressError) as caught:
        parse_master(text)
    assert str(caught.value).startswith("setting master: ") and "\n" not in str(caught.value)


class Masters:
    """What the masters would write into ZooKeeper, and what the detector has told."""

    def __init__(self, ensemble: Ensemble) -> None:
        address = parse_master(ensemble.address())
        assert isinstance(address, ZooKeeperAddress)
        self.address = address
        self.told: list[str | None] = []
        self.client = KazooClient(address.hosts, timeout=40)
        self.client.start(timeout=PATIENCE)
        self.client.ensure_path(address.path)

    def write(self, name: str, content: Any) -> str:
        """The path of the entry."""
        place, data = (
            f"{self.address.path}/{name}",
            content if isinstance(content, bytes) else json.dumps(content).encode(),
        )
        with contextlib.suppress(NodeExistsError):  # the connection broke after it was made
            self.retry(self.client.create, place, data)
        return place

    def retry(self, do: Callable[..., Any], *arguments: Any) -> Any:
        """Again where the connection breaks, as while the ensemble comes up."""
        return KazooRetry(max_tries=-1, deadline=PATIENCE, max_delay=1.0)(do, *arguments)

    def elect(self, number: int, ip: str = "10.0.0.1", **more: Any) -> str:
        info = {"address": {"ip": ip, "hostname": "m.example", "port": 5050}, "id": "x", "version": "1.11.0", **more}
        return self.write(f"json.info_{number:010}", info)

    def tells(self, *last: str | None) -> None:
        eventually(lambda: self.told[-len(last) :] == [*last], timeout=PATIENCE, what=f"{last}, told: {self.told}")

    @contextlib.contextmanager
    def detecting(self) -> Iterator[ZooKeeperDetector]:
        detector = ZooKeeperDetector(self.address, self.told.append)
        detector.start()
        try:
            yield detector
        finally:
            detector.stop()


@pytest.fixture
def masters(ensemble: Ensemble) -> Iterator[Masters]:
    one = Masters(ensemble)
    yield one
    one.client.stop()
    one.client.close()


def test_the_oldest_candidate_leads_and_its_successor_follows_it(masters: Masters):
    first = masters.elect(3, "10.0.0.3")
    second = masters.elect(12, "10.0.0.12")
    masters.write("info_0000000001", b"\x0a protobuf, of masters before 0.24")
    masters.write("log_replicas", b"")
    with masters.detecting():
        masters.tells("10.0.0.3:5050")
        masters.client.delete(first)
        masters.tells("10.0.0.3:5050", "10.0.0.12:5050")
        masters.client.delete(second)
        masters.tells("10.0.0.12:5050", None)
        masters.elect(13, "10.0.0.13")
        masters.tells(None, "10.0.0.13:5050")
    assert masters.told == ["10.0.0.3:5050", "10.0.0.12:5050", None, "10.0.0.13:5050"], "each is told once"


def test_a_name_does_where_there_is_no_ip(masters: Masters):
    masters.write("json.info_0000000001", {"address": {"hostname": "m.example", "port": 5051}})
    with masters.detecting():
        masters.tells("m.example:5051")


@pytest.mark.parametrize("content", [b"", b"{", {"address": None}, {"address": {"ip": "10.0.0.1"}}, [], {"id": "x"}])
def test_an_entry_that_cannot_be_read_is_no_leader_and_ends_nothing(masters: Masters, content: Any):
    good = masters.elect(5)
    with masters.detecting():
        masters.tells("10.0.0.1:5050")
        bad = masters.write("json.info_0000000001", content)
        masters.tells("10.0.0.1:5050", None)
        masters.client.delete(bad)
        masters.tells(None, "10.0.0.1:5050")
        masters.client.delete(good)


def test_a_path_that_no_master_has_made_yet_is_waited_for(masters: Masters):
    masters.client.delete(masters.address.path)
    with masters.detecting():
        eventually(lambda: masters.client.exists(masters.address.path), timeout=PATIENCE)
        masters.elect(1)
        masters.tells("10.0.0.1:5050")


def test_a_zookeeper_that_comes_late_or_goes_for_a_while_costs_time_alone(masters: Masters, ensemble: Ensemble):
    masters.elect(1)
    for member in ensemble.members:
        member.kill()
    with masters.detecting():
        ensemble.whole()
        masters.tells("10.0.0.1:5050")
        for member in ensemble.members:
            member.kill()
        ensemble.whole()
        eventually(lambda: masters.client.exists(masters.address.path), timeout=PATIENCE)
        masters.elect(0, "10.0.0.9")
        masters.tells("10.0.0.1:5050", "10.0.0.9:5050")
