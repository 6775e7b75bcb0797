"""What is done to the cluster: each fault breaks something and says how it is mended."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from nginx import process as nginx_process
from nginx.layout import Layout
from tests.integration.faults.cluster import Cluster, Daemon, MesosKind

Mend = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long it lasts. `of`: the kinds of Mesos that it is tried on. `deposes`: it lasts until another node leads."""

    name: str
    seconds: float
    inject: Callable[[Cluster], Mend]
    of: tuple[MesosKind, ...] = ("embedded", "real")
    deposes: bool = False


def _kill(cluster: Cluster, daemon: Daemon) -> Mend:
    daemon.kill()
    return daemon.start


def _kill_leader(cluster: Cluster) -> Mend:
    return _kill(cluster, cluster.leader())


def _kill_daemon(name: str) -> Callable[[Cluster], Mend]:
    return lambda cluster: _kill(cluster, cluster.daemons[name])


def _kill_nginx(cluster: Cluster) -> Mend:
    """Master and workers; the daemon beside it lives."""
    for pid in nginx_process.ours(Layout(cluster.edge_directory)):
        os.kill(pid, signal.SIGKILL)
    return lambda: None


def _stop_leader(cluster: Cluster) -> Mend:
    leader = cluster.leader()
    leader.signal(signal.SIGSTOP)
    return lambda: leader.signal(signal.SIGCONT)


def _cut(
    *, zookeeper: bool = False, mesos: bool = False, outwards: bool = True, inwards: bool = True
) -> Callable[[Cluster], Mend]:
    def inject(cluster: Cluster) -> Mend:
        machine = cluster.leader().machine
        others = [*(["zk1", "zk2", "zk3"] if zookeeper else []), *(["mesos"] if mesos else [])]
        ways = [(machine, other) for other in others if outwards] + [(other, machine) for other in others if inwards]
        for sender, receiver in ways:
            cluster.network.cut(sender, receiver)

        def mend() -> None:
            for sender, receiver in ways:
                cluster.network.heal(sender, receiver)

        return mend

    return inject


def _fill_disks(names: tuple[str, ...]) -> Callable[[Cluster], Mend]:
    def inject(cluster: Cluster) -> Mend:
        fillers = [cluster.disk(name) / "filler" for name in names]
        for filler in fillers:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)

        def mend() -> None:
            for filler in fillers:
                filler.unlink()

        return mend

    return inject


FAULTS = (
    Fault("nothing breaks", 5, lambda cluster: lambda: None),
    Fault("kill -9 of the leader", 5, _kill_leader, deposes=True),
    Fault("kill -9 of a ZooKeeper member", 10, _kill_daemon("zookeeper1")),
    Fault("kill -9 of the Mesos master", 5, _kill_daemon("mesos"), ("embedded",)),
    Fault("kill -9 of Consul", 5, _kill_daemon("consul")),
    Fault("kill -9 of the edge's daemon", 5, _kill_daemon("edge")),
    Fault("kill -9 of the only Nginx, master and workers", 5, _kill_nginx),
    Fault("SIGSTOP of the leader for 40 s", 40, _stop_leader, deposes=True),
    Fault("leader cut off from ZooKeeper for 20 s", 20, _cut(zookeeper=True), deposes=True),
    Fault("leader cut off from Mesos for 20 s", 20, _cut(mesos=True)),
    Fault("leader cut off from both for 20 s", 20, _cut(zookeeper=True, mesos=True), deposes=True),
    Fault("nothing arrives from the leader at ZooKeeper, 20 s", 20, _cut(zookeeper=True, inwards=False)),
    Fault("nothing arrives from ZooKeeper at the leader, 20 s", 20, _cut(zookeeper=True, outwards=False)),
    Fault("nothing arrives from the leader at Mesos, 20 s", 20, _cut(mesos=True, inwards=False)),
    Fault("nothing arrives from Mesos at the leader, 20 s", 20, _cut(mesos=True, outwards=False)),
    Fault("disk full at one ZooKeeper for 15 s", 15, _fill_disks(("zookeeper1",))),
    Fault("disk full at all ZooKeepers for 15 s", 15, _fill_disks(("zookeeper1", "zookeeper2", "zookeeper3"))),
)
