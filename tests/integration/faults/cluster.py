"""The real daemons, each on a machine of its own: three frameworks on three ZooKeepers, a Mesos, a Consul, a registrator and an edge."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import requests

from daemonkit.errors import OperatorError
from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.cleanup import clean
from nginx import process as nginx_process
from tests.integration.faults.network import Network
from tests.support.mesos import REAL_MESOS
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
Json = dict[str, Any]
MesosKind = Literal["embedded", "real"]
HOST = "web.faults"
_ZOOKEEPER_CLASSES = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"
_JAVA = ["-Xmx96m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


@dataclass(frozen=True)
class Pace:
    """`tick` of ZooKeeper and `session` of the frameworks, in seconds. `quiet`: seconds before something breaks. `faults`: how long they
    last, as a share of what the catalogue says. `edge`: whether there are users, and what leads them to the tasks."""

    tick: float = 2.0
    session: float = 5.0
    quiet: float = 4.0
    faults: float = 1.0
    edge: bool = True


AS_DELIVERED = Pace()
QUICK = Pace(tick=1.0, session=3.0, quiet=1.0, faults=0.3, edge=False)


@dataclass
class Daemon:
    """A process on a machine. It is started again only where a fault says so, or at the end of one."""

    name: str
    network: Network
    machine: str
    command: list[str]
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def address(self) -> str:
        return self.network.address(self.machine)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        if self.runs:
            return
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.network.command(self.machine, *self.command),
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """kill -9 of this process alone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def end(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Cluster:
    network: Network
    directory: Path
    mesos_kind: MesosKind
    pace: Pace = AS_DELIVERED
    daemons: dict[str, Daemon] = field(default_factory=dict)
    work: Path = Path()

    # --- what there is

    @property
    def frameworks(self) -> list[Daemon]:
        return [daemon for name, daemon in self.daemons.items() if name.startswith("framework")]

    @property
    def zookeepers(self) -> list[Daemon]:
        return [daemon for name, daemon in self.daemons.items() if name.startswith("zookeeper")]

    def api(self, daemon: Daemon) -> str:
        return f"http://{daemon.address}:8080"

    @property
    def mesos_url(self) -> str:
        return f"http://{self.network.address('mesos')}:5050"

    @property
    def edge_directory(self) -> Path:
        return self.directory / "edge"

    @property
    def edge_url(self) -> str:
        return f"http://{self.network.address('services')}:8000"

    def leader(self, timeout: float = 60.0) -> Daemon:
        """By the word of the nodes; the youngest opinion counts. While nobody leads, nor answers in time, it asks again."""

        def named() -> Daemon | None:
            for framework in self.frameworks:
                with contextlib.suppress(requests.RequestException, KeyError, StopIteration):
                    answer = requests.get(f"{self.api(framework)}/v2/leader", timeout=5).json()["leader"]
                    return next(one for one in self.frameworks if answer.partition(":")[0] == one.address)
            return None

        return eventually(named, timeout, interval=0.2, what=f"somebody leads; see {self.directory}")

    def get(self, path: str, timeout: float = 60.0) -> Any:
        """From any node that answers."""

        def answered() -> list[Any]:
            last: Exception = AssertionError("no node")
            for framework in self.frameworks:
                try:
                    response = requests.get(self.api(framework) + path, timeout=5)
                    response.raise_for_status()
                    return [response.json()]
                except requests.RequestException as error:
                    last = error
            raise last

        return eventually(answered, timeout, interval=0.2)[0]

    # --- building it

    def build(self) -> None:
        numbers = {"fw1": 11, "fw2": 12, "fw3": 13, "zk1": 21, "zk2": 22, "zk3": 23, "mesos": 31, "services": 41}
        for machine, number in numbers.items():
            self.network.add(machine, number)
        self._add_zookeepers()
        self._add_mesos()
        self._add_frameworks()
        if self.pace.edge:
            self._add_services()
        for daemon in self.daemons.values():
            daemon.start()

    def _add(self, name: str, machine: str, command: list[str], **environment: str) -> Daemon:
        daemon = Daemon(name, self.network, machine, command, self.directory, environment)
        self.daemons[name] = daemon
        return daemon

    def _python(self, module: str, **flags: object) -> list[str]:
        command = [sys.executable, "-m", module]
        for name, value in flags.items():
            command += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
        return command

    def _add_zookeepers(self) -> None:
        addresses = [self.network.address(f"zk{n}") for n in (1, 2, 3)]
        servers = [f"server.{n}={address}:2888:3888" for n, address in enumerate(addresses, 1)]
        options = ["admin.enableServer=false", "jmx.log4j.disable=true", "4lw.commands.whitelist=srvr"]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        for n, address in enumerate(addresses, 1):
            own = self.disk(f"zookeeper{n}")
            own.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(own)], check=True)
            (own / "myid").write_text(str(n))
            settings = [
                f"tickTime={self.pace.tick * 1000:.0f}",
                "initLimit=10",
                "syncLimit=5",
                "maxClientCnxns=0",
                f"dataDir={own}",
            ]
            lines = [*settings, "clientPort=2181", f"clientPortAddress={address}", *servers, ""]
            configuration = self.directory / f"zookeeper{n}.cfg"
            configuration.write_text("\n".join(lines))
            flags = [*_JAVA, "-Dzookeeper.preAllocSize=1024", *(f"-Dzookeeper.{option}" for option in options)]
            command = ["java", *flags, "-cp", _ZOOKEEPER_CLASSES, main, str(configuration)]
            self._add(f"zookeeper{n}", f"zk{n}", command)

    def _add_mesos(self) -> None:
        address = self.network.address("mesos")
        resources = "cpus:8;mem:8192;disk:8192;ports:[31000-31999]"
        if self.mesos_kind == "embedded":
            command = self._python(
                "embedded.mesos.daemon", host=address, port=5050, agents=1, state_dir=self.work, resources=resources
            )
            self._add("mesos", "mesos", command)
            return
        from tests.real_mesos.build import built_mesos  # downloads it the first time

        libraries = built_mesos()
        self._add(
            "mesos",
            "mesos",
            [sys.executable, str(REAL_MESOS / "local_master.py"), str(libraries), str(self.work), "1"],
            LD_LIBRARY_PATH=str(libraries),
            LIBPROCESS_IP=address,
            LIBPROCESS_PORT="5050",
            MESOS_LAUNCHER_DIR=str(REAL_MESOS / "helpers"),
            MESOS_LAUNCHER="posix",
            MESOS_SYSTEMD_ENABLE_SUPPORT="false",
            MESOS_CONTAINERIZERS="mesos",
            MESOS_REGISTRY="in_memory",
            MESOS_HOSTNAME=address,
            MESOS_ISOLATION="posix/cpu,posix/mem",
            MESOS_RESOURCES=resources,
        )

    def _add_frameworks(self) -> None:
        hosts = ",".join(f"{self.network.address(f'zk{n}')}:2181" for n in (1, 2, 3))
        for n in (1, 2, 3):
            address = self.network.address(f"fw{n}")
            command = self._python(
                "framework.daemon",
                http_address=address,
                hostname=address,
                zk=f"zk://{hosts}/dromos",
                zk_session_timeout=self.pace.session,
                zk_timeout=self.pace.session + 1,
                master=f"{self.network.address('mesos')}:5050",
                state_dir=self.directory / f"framework{n}",
                drain_seconds=0,
            )
            self._add(f"framework{n}", f"fw{n}", command)

    def _add_services(self) -> None:
        own = self.network.address("services")
        apis = [part for n in (1, 2, 3) for part in ("--marathon", f"http://{self.network.address(f'fw{n}')}:8080")]
        consul = f"http://{own}:8500"
        self._add(
            "consul",
            "services",
            self._python("embedded.consul.daemon", host=own, port=8500, state_dir=self.directory / "consul"),
        )
        registrator = self._python("registrator.daemon", host=own, mesos=self.mesos_url, consul=consul)
        self._add("registrator", "services", [*registrator, *apis])
        edge = self._python(
            "nginx.daemon", host=own, daemon_host=own, consul=consul, state_dir=self.edge_directory, workers=1
        )
        self._add("edge", "services", edge)

    def disk(self, name: str) -> Path:
        """Of a ZooKeeper: small, and its own."""
        return self.directory / name

    # --- its life

    def restart_what_is_dead(self) -> None:
        for daemon in self.daemons.values():
            daemon.start()

    def is_converged(self, wanted: dict[str, int]) -> bool:
        """Every app has the instances that it is to have, running, by the framework's word and by Mesos'."""
        if self.get("/v2/deployments"):
            return False
        apps = {app["id"]: app for app in self.get("/v2/apps?embed=apps.tasks")["apps"]}
        if {app_id: app["instances"] for app_id, app in apps.items()} != wanted:
            return False
        known = {task["id"] for app in apps.values() for task in app["tasks"] if task["state"] == "TASK_RUNNING"}
        return known == set(self.mesos_tasks()) and len(known) == sum(wanted.values())

    def mesos_tasks(self) -> dict[str, str]:
        """Tasks that have not ended, by Mesos' word: id -> app id."""
        state = requests.get(f"{self.mesos_url}/state", timeout=10).json()
        return {
            task["id"]: "/" + task["id"].partition(".")[0].replace("_", "/")
            for framework in state["frameworks"]
            for task in framework["tasks"]
            if task["state"] in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING")
        }

    def end(self) -> None:
        for daemon in reversed(self.daemons.values()):
            daemon.end()
        for n in (1, 2, 3):
            subprocess.run(["umount", str(self.disk(f"zookeeper{n}"))], check=False, capture_output=True)
        nginx_process.stop(self.edge_directory)
        if self.mesos_kind == "embedded":
            with contextlib.suppress(OperatorError):
                clean(self.work, AgentSettings())


@contextlib.contextmanager
def cluster(
    network: Network, directory: Path, work: Path, kind: MesosKind, pace: Pace, say: Callable[[str], None]
) -> Iterator[Cluster]:
    """Up and subscribed, and gone without a trace after the block."""
    one = Cluster(network, directory, kind, pace, work=work)
    try:
        one.build()
        say(f"{one.leader(150).name} leads")
        yield one
    finally:
        one.end()
