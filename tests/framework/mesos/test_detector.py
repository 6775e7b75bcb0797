"""Finding the leading master in a real ZooKeeper, as masters come, go and leave odd entries, and members of the ensemble die."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from kazoo.client import KazooClient

from framework.mesos.detector import ZooKeeperDetector, parse_master
from tests.support.waiting import eventually
from tests.support.zookeeper import Ensemble

pytestmark = pytest.mark.xdist_group("zookeeper")


class Masters:
    """The masters' own part: entries below a path. `found` are the detector's findings, oldest first."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.address = parse_master(ensemble.address())
        self.client = KazooClient(ensemble.hosts, connection_retry={"max_tries": -1})
        self.client.start()
        self.found: list[str | None] = []

    def join(self, port: int, **more: Any) -> str:
        entry = {"address": {"ip": "127.0.0.1", "hostname": "host", "port": port}, "id": "m", **more}
        return self.put(orjson.dumps(entry))

    def put(self, data: bytes, name: str = "json.info_") -> str:
        place: str = self.client.create(
            f"{self.address.path}/{name}", data, ephemeral=True, sequence=True, makepath=True
        )
        return place


@pytest.fixture
def masters(ensemble: Ensemble) -> Iterator[Masters]:
    made = Masters(ensemble)
    detector = ZooKeeperDetector(made.address, made.found.append)
    detector.start()
    yield made
    detector.stop()
    made.client.stop()
    made.client.close()


def test_the_oldest_master_leads_and_the_next_one_takes_over(masters: Masters) -> None:
    first = masters.join(5051)
    eventually(lambda: masters.found == ["127.0.0.1:5051"], timeout=30)
    second = masters.join(5052)
    masters.client.delete(first)
    eventually(lambda: masters.found[-1] == "127.0.0.1:5052", timeout=30)
    masters.client.delete(second)
    eventually(lambda: masters.found[-1] is None, timeout=30)
    masters.join(5053)
    eventually(lambda: masters.found[-1] == "127.0.0.1:5053", timeout=30)


def test_entries_of_another_kind_are_passed_over(masters: Masters) -> None:
    masters.put(b"\x00protobuf", name="info_")
    masters.put(b"", name="log_replicas_")
    masters.join(5051)
    eventually(lambda: masters.found == ["127.0.0.1:5051"], timeout=30)


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b"{}", b'{"address": {}}', b'{"address": 3}'])
def test_an_entry_that_cannot_be_read_names_nobody_and_the_next_master_is_found(masters: Masters, data: bytes) -> None:
    odd = masters.put(data)
    masters.join(5052)
    masters.client.delete(odd)
    eventually(lambda: masters.found and masters.found[-1] == "127.0.0.1:5052", timeout=30)


def test_a_master_is_found_though_members_of_the_ensemble_die(masters: Masters, ensemble: Ensemble) -> None:
    first = masters.join(5051)
    eventually(lambda: masters.found == ["127.0.0.1:5051"], timeout=30)
    ensemble.leader.kill()
    masters.join(5052)
    masters.client.retry(masters.client.delete, first)
    eventually(lambda: masters.found[-1] == "127.0.0.1:5052", timeout=60)
