"""Apps with persistent volumes: reserved once, launched again where their data is, given back when nobody wants it any more."""

from dataclasses import replace
from typing import Any

import pytest

from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Accept, Revive
from framework.engine.commands import Declare, KillInstances
from framework.engine.events import Elected, OffersReceived, StatusReceived, Subscribed
from framework.engine.state import State
from framework.model.change import Change
from framework.model.codec import from_json
from framework.model.container import Container
from framework.model.instance import Agent, Instance
from framework.model.network import PortDefinition
from framework.model.offer import Disk, Offer, Pool
from framework.model.pod import Pod
from framework.model.strategy import UnreachableDisabled, UpgradeStrategy
from framework.model.volume import PersistentInfo, PersistentVolume
from tests.support.engine import Desk, app, numbers

ROLE = "prod"


def database(**fields: Any):  # type: ignore[no-untyped-def]
    defaults: dict[str, Any] = {
        "role": ROLE,
        "cpus": 1.0,
        "mem": 100.0,
        "disk": 10.0,
        "container": Container("MESOS", volumes=(PersistentVolume("data", PersistentInfo(500)),)),
        "upgrade_strategy": UpgradeStrategy(0.5, 0.0),
        "unreachable_strategy": UnreachableDisabled(),
        "port_definitions": (PortDefinition(0),),
    }
    return app("/db", **{**defaults, **fields})


def room(number: int = 1, **more: Any) -> Pool:
    return Pool(**{"cpus": 2000, "mem": 2_000_000, "disk": 2_000_000, "ports": ((31000, 31009),), **more})


def reserved(instance: Instance | str, framework: str = "framework-1", **more: Any) -> Pool:
    """What is reserved for an instance, as its agent offers it when no task uses it."""
    instance_id = instance if isinstance(instance, str) else instance.id
    volume = {
        "name": "disk",
        "scalar": {"value": 500.0},
        "disk": {"persistence": {"id": f"{instance_id}#data"}, "volume": {"container_path": "data", "mode": "RW"}},
    }
    kept = {"cpus": 1000, "mem": 100_000, "disk": 10_000, "volumes": (volume,), **more}
    return Pool(ROLE, labelled=True, owner=(framework, instance_id), **kept)


class Cluster(Desk):
    count = 0

    def on(self, number: int, *pools: Pool) -> Offer:
        self.count += 1
        return Offer(f"o-{self.count}", Agent(f"agent-{number}", f"host-{number}"), ROLE, pools)

    def run(self, *offers: Offer) -> list[Instance]:
        launches = self.offers(*offers)
        for launch in launches:
            self.status(launch.instance.id, "TASK_RUNNING")
        return [launch.instance for launch in launches]


@pytest.fixture
def desk() -> Cluster:
    return Cluster()


def test_the_first_launch_reserves_room_for_the_volume_too(desk: Cluster) -> None:
    desk.declare(database())
    assert desk.offers(desk.on(1, room(disk=509_000))) == [], "500 for the volume and 10 for the task do not fit"
    [launch] = desk.offers(desk.on(1, room(disk=510_000)))
    assert launch.reserve
    assert launch.takes[0].disk == 510_000


def test_one_that_fails_is_launched_again_where_its_volume_is_and_nowhere_else(desk: Cluster) -> None:
    desk.declare(database())
    [first] = desk.run(desk.on(1, room()))
    desk.status(first.id, "TASK_FAILED")
    desk.wait(5)
    assert desk.offers(desk.on(2, room())) == []
    assert desk.state.launcher.queue()[0].problem == "an offer of host-1, where its volumes are"
    assert desk.offers(desk.on(1, room())) == [], "its reservation is not in the offer"
    small = desk.on(1, reserved(first, cpus=500, mem=50_000), room(ports=()))
    assert desk.offers(replace(desk.on(3, room()), role="test"), small, desk.on(2, room())) == []
    [item] = desk.state.launcher.queue()
    assert (item.processed_offers, item.unused_offers, item.last_offers) == (5, 5, 3)
    assert item.last_rejects == {"UnfulfilledRole": 1, "InsufficientCpus": 1, "NoCorrespondingReservationFound": 1}
    assert [one.reasons for one in desk.state.launcher.unused_offers("/db")][2:] == [
        ("UnfulfilledRole", "NoCorrespondingReservationFound"),
        ("InsufficientCpus", "InsufficientMemory", "InsufficientPorts"),
        ("NoCorrespondingReservationFound",),
    ]
    [again] = desk.offers(desk.on(1, reserved(first), room()))
    assert (again.instance.id, again.instance.incarnation, again.reserve) == (first.id, 2, False)
    assert again.instance.tasks[0].id == f"{first.id}._app.2"
    [own, ports] = again.takes
    assert (own.cpus, own.mem, own.disk, len(own.volumes)) == (1000, 100_000, 10_000, 1)
    assert (len(ports.ports), ports.cpus) == (1, 0)
    desk.status(again.instance.id, "TASK_RUNNING")
    assert len(desk.running("/db")) == 1


def test_an_update_keeps_the_volume_and_the_agent(desk: Cluster) -> None:
    desk.declare(database())
    [first] = desk.run(desk.on(1, room()))
    desk.update("/db", cmd="new")
    desk.status(first.id, "TASK_KILLED")
    [again] = desk.run(desk.on(1, reserved(first), room()))
    assert again.id == first.id
    assert again.spec_version == desk.ledger.declared.apps["/db"].version
    assert not desk.ledger.deployments


def test_scaling_down_keeps_the_volume_for_the_next_scaling_up(desk: Cluster) -> None:
    desk.declare(database(instances=2))
    one, two = desk.run(desk.on(1, room()), desk.on(2, room()))
    desk.update("/db", instances=1)
    [victim] = [i for i in (one, two) if desk.ledger.instances[i.id].leaving]
    desk.status(victim.id, "TASK_KILLED")
    assert not desk.ledger.deployments
    agent = int(victim.agent.id[-1])
    desk.tell(OffersReceived((desk.on(agent, reserved(victim), room()),)))
    assert not any(accept.releases for accept in desk.found(Accept)), "it is kept"
    desk.update("/db", instances=2)
    assert [i.id for i in desk.run(desk.on(agent, reserved(victim), room()))] == [victim.id]


def test_one_whose_agent_is_full_holds_up_no_other_that_has_a_volume(desk: Cluster) -> None:
    desk.declare(database(instances=3))
    one, two, three = desk.run(desk.on(1, room()), desk.on(2, room()), desk.on(3, room()))
    desk.update("/db", instances=1)
    parked = [i for i in (one, two, three) if desk.ledger.instances[i.id].leaving]
    for instance in parked:
        desk.status(instance.id, "TASK_KILLED")
    desk.update("/db", instances=2)
    first, second = parked
    full = desk.on(int(first.agent.id[-1]), reserved(first), room(ports=()))
    assert desk.offers(full) == []
    assert desk.state.launcher.queue()[0].last_rejects == {"InsufficientPorts": 1}
    [again] = desk.offers(full, desk.on(int(second.agent.id[-1]), reserved(second), room()))
    assert (again.instance.id, again.instance.incarnation) == (second.id, 2)


@pytest.mark.parametrize("wanted", [1, 2])
def test_of_several_with_volumes_and_room_as_many_as_are_wanted_come_back_the_oldest_first(
    desk: Cluster, wanted: int
) -> None:
    desk.declare(database(instances=3))
    launched = desk.run(desk.on(1, room()), desk.on(2, room()), desk.on(3, room()))
    desk.update("/db", instances=0)
    for instance in launched:
        desk.status(instance.id, "TASK_KILLED")
    parked = desk.instances("/db")
    desk.update("/db", instances=wanted)
    back = desk.offers(*(desk.on(int(i.agent.id[-1]), reserved(i), room()) for i in reversed(parked)))
    assert {launch.instance.id for launch in back} == {i.id for i in parked[:wanted]}
    assert not any(launch.reserve for launch in back)


def test_an_offer_that_several_volumes_are_in_is_one_offer_in_the_queue(desk: Cluster) -> None:
    desk.declare(database(instances=2, mem=10.0))
    launched = desk.run(desk.on(1, room(disk=2_000_000)))
    assert len(launched) == 2
    for instance in launched:
        desk.status(instance.id, "TASK_FAILED")
    desk.wait(30)
    assert desk.offers(desk.on(1, *(reserved(i) for i in launched), room(ports=()))) == []
    [item] = desk.state.launcher.queue()
    assert (item.last_rejects, item.last_offers) == ({"InsufficientPorts": 1}, 1)


def test_wiping_gives_the_volume_up_and_the_next_one_starts_afresh(desk: Cluster) -> None:
    desk.declare(database())
    [first] = desk.run(desk.on(1, room()))
    desk.command(KillInstances((first.id,), wipe=True))
    desk.status(first.id, "TASK_KILLED")
    desk.tell(OffersReceived((desk.on(1, reserved(first), room()),)))
    [accept] = desk.found(Accept)
    assert [pool.owner for pool in accept.releases] == [("framework-1", first.id)]
    [launch] = accept.launches
    assert launch.reserve and launch.instance.id != first.id


def test_a_parked_one_can_be_wiped(desk: Cluster) -> None:
    desk.declare(database())
    [first] = desk.run(desk.on(1, room()))
    desk.status(first.id, "TASK_FAILED")
    desk.command(KillInstances((first.id,), wipe=True))
    desk.wait(5)
    [launch] = desk.offers(desk.on(2, room()))
    assert launch.instance.id != first.id


def test_removing_the_app_gives_everything_back_though_nobody_waits(desk: Cluster) -> None:
    desk.declare(database(instances=2))
    one, two = desk.run(desk.on(1, room()), desk.on(2, room()))
    desk.status(two.id, "TASK_FAILED")
    desk.remove("/db")
    desk.status(one.id, "TASK_KILLED")
    assert not desk.instances("/db") and not desk.ledger.deployments
    desk.wait(60)
    assert Revive((ROLE,)) in desk.found(Revive)
    for instance in (one, two):
        desk.tell(OffersReceived((desk.on(int(instance.agent.id[-1]), reserved(instance)),)))
        [accept] = desk.found(Accept)
        assert accept.releases and not accept.launches
    desk.wait(60)
    assert not desk.found(Revive), "all is given back: no offers are asked for any more"


def test_what_others_have_reserved_is_left_alone(desk: Cluster) -> None:
    desk.declare(database(instances=0))
    others = (reserved("db.instance-x", "framework-2"), reserved("kafka-0"))
    desk.tell(OffersReceived((desk.on(1, *others),)))
    assert not desk.found(Accept)


def test_a_launch_that_never_arrived_waits_for_no_reservation(desk: Cluster) -> None:
    desk.declare(database())
    [launch] = desk.offers(desk.on(1, room()))
    desk.status(launch.instance, "TASK_LOST", reason="REASON_INVALID_OFFERS")
    desk.wait(5)
    [other] = desk.offers(desk.on(2, room()))
    assert other.reserve and other.instance.id != launch.instance.id


def test_a_new_leader_knows_what_is_parked_and_asks_nobody_about_it(desk: Cluster) -> None:
    desk.declare(database())
    [first] = desk.run(desk.on(1, room()))
    desk.status(first.id, "TASK_FAILED")
    desk.state = State(desk.settings, desk.ledger, numbers())
    desk.tell(Elected("me:8080"), Subscribed("framework-1", "master:5050", again=True))
    assert desk.state.reconciler.open == 0
    assert [i.id for i in desk.run(desk.on(1, reserved(first), room()))] == [first.id]


def test_a_parked_instance_is_kept_by_the_store() -> None:
    from framework.engine import records
    from framework.model.instance import Condition, Goal, Task

    parked = Instance(
        "db.instance-1", "/db", "v", "v", ROLE, Agent("a", "h"), (Task("t"),), Condition.FAILED, Goal.STOPPED, 3
    )
    again = records.decode_instance(records.encode(records.INSTANCES, parked))
    assert again == parked and again.parked


def test_what_cannot_be_is_not_launched_without_its_volume(desk: Cluster) -> None:
    desk.declare(database(role="*"))
    assert desk.offers(desk.on(1, room())) == []
    assert "need a role" in str(desk.state.launcher.queue()[0].problem)


def test_volumes_are_made_on_the_disks_that_they_ask_for(desk: Cluster) -> None:
    volumes = (
        PersistentVolume("data", PersistentInfo(500)),
        PersistentVolume("log", PersistentInfo(100, "path")),
        PersistentVolume("fast", PersistentInfo(200, "mount", max_size=400)),
    )
    desk.declare(database(container=Container("MESOS", volumes=volumes)))
    path, small, mount, large = (
        Disk("path", 1_000_000, "/p"), Disk("mount", 100_000, "/m1"), Disk("mount", 300_000, "/m2"),
        Disk("mount", 500_000, "/m3"),
    )  # fmt: skip
    assert desk.offers(desk.on(1, room(disks=(path, small, large)))) == []
    assert desk.state.launcher.queue()[0].last_rejects == {"InsufficientDisk": 1}
    [launch] = desk.offers(desk.on(1, room(disks=(path, small, mount, large))))
    taken = {part.container_path: (part.disk.root, part.amount) for part in launch.takes[0].disks}
    assert taken == {"log": ("/p", 100_000), "fast": ("/m2", 300_000)}
    assert launch.takes[0].disk == 510_000, "the root disk has the other volume, and what the task asks for itself"


def test_one_instance_s_disk_is_not_given_to_another_in_the_same_round(desk: Cluster) -> None:
    volumes = (PersistentVolume("fast", PersistentInfo(200, "mount")),)
    desk.declare(database(container=Container("MESOS", volumes=volumes), instances=3))
    disks = (Disk("mount", 300_000, "/m1"), Disk("mount", 300_000, "/m2"))
    launches = desk.offers(desk.on(1, room(disks=disks)))
    assert {launch.takes[0].disks[0].disk.root for launch in launches} == {"/m1", "/m2"}


def test_a_volume_on_a_disk_of_its_own_is_found_again_and_takes_nothing_from_the_root_disk(desk: Cluster) -> None:
    volumes = (PersistentVolume("data", PersistentInfo(500, "mount")),)
    desk.declare(database(container=Container("MESOS", volumes=volumes)))
    [first] = desk.run(desk.on(1, room(disks=(Disk("mount", 600_000, "/m"),))))
    desk.status(first.id, "TASK_FAILED")
    desk.wait(5)
    kept = reserved(first)
    [volume] = kept.volumes
    on_mount = {**volume, "scalar": {"value": 600.0}, "disk": {**volume["disk"], "source": {"type": "MOUNT"}}}
    assert desk.offers(desk.on(1, replace(kept, volumes=(on_mount,), disk=0), room())) == []
    [again] = desk.offers(desk.on(1, replace(kept, volumes=(on_mount,)), room()))
    assert (again.instance.incarnation, again.takes[0].disk) == (2, 10_000)


def test_a_pod_with_a_volume_stays_where_it_is_too(desk: Cluster) -> None:
    pod = from_json(Pod, POD)
    desk.command(Declare(lambda _: Change(pods={"/pod": replace(pod, role=ROLE)})))
    [launch] = desk.offers(desk.on(1, room()))
    assert launch.reserve and launch.takes[0].disk == 500_000 + 10_000
    for task in launch.instance.tasks:
        desk.tell(StatusReceived(TaskStatus(task.id, "TASK_RUNNING", "agent-1")))
    for task in launch.instance.tasks:
        desk.tell(StatusReceived(TaskStatus(task.id, "TASK_FAILED", "agent-1")))
    desk.wait(5)
    assert desk.offers(desk.on(2, room())) == []
    kept = reserved(launch.instance, cpus=2000)
    [again] = desk.offers(desk.on(1, kept, room()))
    assert (again.instance.id, again.reserve, len(again.takes[0].volumes)) == (launch.instance.id, False, 1)
    assert [task.id.rsplit(".", 2)[1:] for task in again.instance.tasks] == [["one", "2"], ["two", "2"]]


POD = {
    "id": "/pod",
    "containers": [
        {"name": name, "resources": {"cpus": 0.5, "mem": 32}, "volumeMounts": [{"name": "data", "mountPath": "d"}]}
        for name in ("one", "two")
    ],
    "volumes": [{"name": "data", "persistent": {"size": 500}}],
    "networks": [{"mode": "host"}],
    "scheduling": {},
}
