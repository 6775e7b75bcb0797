"""From the framework through Consul to the file, for a long time, with all going wrong: does the file say what is true in the end, and
how much was written and reloaded on the way?

A Marathon whose tasks this program starts, drains and ends; the registrator and consul-template as processes of their own; a real Consul
with its data on disk; proxies between them that refuse, hang, and answer 429 and 500. Consul and both daemons are killed now and then.

One tick stands for ten seconds of a platform on which one instance in a thousand changes each second: ten changes come at once, then
there is time to settle. So thirty minutes are 180 ticks.
"""

import contextlib
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.consul import OwnConsul, running_real_consul
from tests.support.marathon import Marathon
from tests.support.processes import running
from tests.support.proxy import Faults, Proxy
from tests.support.registrator import Registrator, running_registrator
from tests.support.waiting import eventually

INSTANCES = 5
CHANGES = 10  # a tick
LONGEST_FAULT = 3  # ticks
TEMPLATE = """{% for s in services() if s.name.startswith("app-") %}{{ s.name }}:{% for i in service(s.name) %} {{ i.port }}{% endfor %}
{% endfor %}"""
PROGRAM = [sys.executable, "-m", "consul_template_py.daemon"]
WRITE = re.compile(rb"PUT /v1/agent/service/(register|deregister|maintenance)")
OUTAGES = (
    "registrator cut off",
    "registrator hangs",
    "watches cut off",
    "watches hang",
    "watches 500",
    "Consul killed",
    "registrator killed",
    "consul-template killed",
    "framework 503",
    "framework empty",
    "events lost",
)
HINDRANCES = ("registrator 429", "watches 429", "watches refused in part")


@dataclass
class Result:
    ticks: int = 0
    changes: int = 0
    writes: int = 0
    fewest_writes: int = 0
    reloads: int = 0
    fewest_reloads: int = 0
    seconds: float = 0.0
    settled_after: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    emptied: list[str] = field(
        default_factory=list
    )  # services that the file lacked at some time, though they always had instances

    def __str__(self) -> str:
        return (
            f"{self.ticks} ticks in {self.seconds:.0f} s, {self.changes} changes, {self.faults.total()} faults "
            f"({', '.join(f'{count} × {name}' for name, count in sorted(self.faults.items()))})\n"
            f"equal to the truth {self.settled_after:.1f} s after the last change\n"
            f"writes to Consul  {self.writes}, fewest {self.fewest_writes}: {self.writes / self.fewest_writes:.3f}\n"
            f"reloads           {self.reloads}, fewest {self.fewest_reloads}: {self.reloads / self.fewest_reloads:.3f}\n"
            f"services that the file lacked at any time: {len(self.emptied)}"
        )


class Truth:
    """The tasks that there are. A task is changed only when it has been as it is for longer than any fault lasts, so that each change
    has to reach Consul: the fewest writes are one for each."""

    def __init__(self, marathon: Marathon, services: int, seed: int) -> None:
        self.marathon, self.random = marathon, random.Random(seed)
        self.changes = 0
        self.silent = False  # its events get lost
        self._port = 10_000
        self._since: dict[str, int] = {}
        self._tick = 0
        for number in range(services):
            marathon.put_app(f"/app-{number:03d}")
            for _ in range(INSTANCES):
                self._start(f"/app-{number:03d}")
        self._since = dict.fromkeys(self._since, -100)
        self.changes = 0
        self.apps = marathon.apps

    def lines(self) -> dict[str, set[str]]:
        """What the file is to say: the ports of each service that are in rotation."""
        return {
            id.strip("/"): {str(task["ports"][0]) for task in app["tasks"] if not task.get("draining")}
            for id, app in self.apps.items()
        }

    def tick(self, changes: int) -> None:
        self._tick += 1
        for _ in range(changes):
            self._change()

    def _change(self) -> None:
        for _ in range(1000):
            app = self.random.choice(sorted(self.apps))
            tasks = self.apps[app]["tasks"]
            steady = [task for task in tasks if self._tick - self._since[task["id"]] > LONGEST_FAULT + 3]
            serving = [task for task in tasks if not task.get("draining")]
            if not steady:
                continue
            task = self.random.choice(steady)
            if task.get("draining"):
                self._end(app, task["id"])
            elif len(serving) < INSTANCES:
                self._start(app)
            elif sum(task in steady for task in serving) < 3:
                continue  # a service keeps instances that have long been there
            elif self.random.random() < 0.5:
                self.marathon.put_task(app, task["id"], draining=True)
                self._announce("instance_draining_event", taskId=task["id"])
                self._note(task["id"])
            else:
                self._end(app, task["id"])
            return

    def _start(self, app: str) -> None:
        self._port += 1
        task = self.marathon.put_task(app, ports=[self._port])
        self._announce("status_update_event", taskId=task, taskStatus="TASK_RUNNING")
        self._note(task)

    def _end(self, app: str, task: str) -> None:
        self.marathon.drop_task(app, task)
        self._announce("status_update_event", taskId=task, taskStatus="TASK_KILLED")
        self._note(task)

    def _note(self, task: str) -> None:
        self._since[task] = self._tick
        self.changes += 1

    def _announce(self, type: str, **fields: str) -> None:
        if not self.silent:
            self.marathon.announce(type, **fields)


class Stage:
    """All processes, and the proxies between them."""

    def __init__(self, folder: Path, services: int, seed: int) -> None:
        self.folder, self.services, self.seed = folder, services, seed
        self.out, self.reloads = folder / "out", folder / "reloads"
        self.applied = folder / "applied"  # what the file said at the last reload
        self.writes = 0
        self._tail = b""
        self._lives = contextlib.ExitStack()

    @contextlib.contextmanager
    def playing(self) -> Iterator["Stage"]:
        hcl = "limits { http_max_conns_per_client = 2000 }"
        with contextlib.ExitStack() as stack:
            self.marathon = stack.enter_context(Marathon().serving())
            self.truth = Truth(self.marathon, self.services, self.seed)
            self.consul: OwnConsul = stack.enter_context(running_real_consul(self.folder, dev=False, hcl=hcl))
            host, port = self.consul.host, self.consul.port
            self.to_write = stack.enter_context(Proxy(host, port, seed=self.seed, on_sent=self._count).running())
            self.to_watch = stack.enter_context(Proxy(host, port, seed=self.seed + 1).running())
            self.registrator_life = stack.enter_context(contextlib.ExitStack())
            self.template_life = stack.enter_context(contextlib.ExitStack())
            self.start_registrator()
            eventually(lambda: len(self.consul.http.get("catalog/services").json()) > self.services, 300)
            self.start_template()
            eventually(self.is_applied, 120, what="the file says what is true")
            yield self

    def _count(self, data: bytes) -> None:
        # A request's first line may come in two pieces.
        both = self._tail + data
        self.writes += len(WRITE.findall(both)) - len(WRITE.findall(self._tail))
        self._tail = both[-64:]

    def start_registrator(self) -> None:
        self.registrator: Registrator = self.registrator_life.enter_context(
            running_registrator(
                self.folder,
                ready=False,
                sources=["framework"],
                marathon=[self.marathon.url],
                consul=self.to_write.url,
                tcp_check_interval=0,
                timeout=2,
                resync=5,
                verify=2,
                empty_hold=20,
            )
        )

    def start_template(self) -> None:
        (self.folder / "t.j2").write_text(TEMPLATE)
        (self.folder / "c.toml").write_text(
            f"""
            wait = "400ms:1s"
            block_query_wait = "10s"
            state_dir = "{self.folder}/state"
            [consul]
            address = "{self.to_watch.url}"
            max_connections = {self.services + 50}
            retry = {{ backoff = "50ms", max_backoff = "300ms" }}
            [guard]
            max_drop_percent = 50
            [[template]]
            source = "{self.folder}/t.j2"
            destination = "{self.out}"
            command = "echo x >> {self.reloads}; cp {self.out} {self.applied}"
            """
        )
        command = [*PROGRAM, "-config", str(self.folder / "c.toml")]
        self.template = self.template_life.enter_context(running(command, log=self.folder / "template.log"))

    def lines(self) -> dict[str, set[str]]:
        if not self.out.exists():
            return {}
        split = (line.split(":") for line in self.out.read_text().splitlines())
        return {name: set(ports.split()) for name, ports in split}

    def is_true(self) -> bool:
        return self.lines() == self.truth.lines()

    def is_applied(self) -> bool:
        """It says so, and the command for it has run."""
        return self.is_true() and self.applied.exists() and self.applied.read_text() == self.out.read_text()

    def consul_is_true(self) -> bool:
        """Each task that there is is registered once, drained as it is to be, and no other."""
        wanted = {task["id"]: bool(task.get("draining")) for app in self.truth.apps.values() for task in app["tasks"]}
        found = self.consul.http.get("agent/services").json().values()
        checks = self.consul.http.get("agent/checks").json().values()
        drained = {check["ServiceID"] for check in checks if check["CheckID"].startswith("_service_maintenance:")}
        return {service["Meta"]["dromos-task"]: service["ID"] in drained for service in found} == wanted

    def reload_count(self) -> int:
        return len(self.reloads.read_text().split())

    # faults: each begins, and gives what ends it

    def begin(self, fault: str) -> None:
        match fault:
            case "registrator cut off":
                self.to_write.set(Faults(refuse=True))
            case "registrator hangs":
                self.to_write.set(Faults(hang=True))
            case "registrator 429":
                self.to_write.set(Faults(status=429, share=0.3))
            case "watches cut off":
                self.to_watch.set(Faults(refuse=True))
            case "watches hang":
                self.to_watch.set(Faults(hang=True))
            case "watches 500":
                self.to_watch.set(Faults(status=500))
            case "watches 429":
                self.to_watch.set(Faults(status=429, share=0.3))
            case "watches refused in part":
                self.to_watch.set(Faults(refuse=True, share=0.3))
            case "Consul killed":
                self.consul.kill()
            case "registrator killed":
                self.registrator_life.close()
            case "consul-template killed":
                self.template.kill()
                self.template_life.close()
            case "framework 503":
                self.marathon.status = 503
            case "framework empty":
                self.marathon.shown = {}
            case "events lost":
                self.truth.silent = True

    def end(self, fault: str) -> None:
        self.to_write.set() if fault.startswith("registrator") else None
        self.to_watch.set() if fault.startswith("watches") else None
        self.marathon.status, self.marathon.shown, self.truth.silent = 200, None, False
        match fault:
            case "Consul killed":
                self.consul.start(60)
            case "registrator killed":
                self.start_registrator()
            case "consul-template killed":
                self.start_template()
        self.marathon.announce("status_update_event", taskId="", taskStatus="TASK_RUNNING")


def churn(
    folder: Path, *, services: int, ticks: int, seconds_a_tick: float, changes: int = CHANGES, seed: int = 1
) -> Result:
    chance, result = random.Random(seed), Result(ticks=ticks)
    with Stage(folder, services, seed).playing() as stage:
        time.sleep(1.0)
        writes, reloads, began = stage.writes, stage.reload_count(), time.monotonic()
        fault, left, in_outage = "", 0, 0
        planned = _plan(chance, ticks)
        with _looking_for_gaps(stage, result):
            for tick in range(ticks):
                tick_began = time.monotonic()
                stage.truth.tick(changes)
                if fault in OUTAGES:
                    in_outage += 1
                else:
                    result.fewest_reloads += 1
                time.sleep(max(0.0, seconds_a_tick / 2 - (time.monotonic() - tick_began)))
                left -= 1
                if fault and left <= 0:
                    stage.end(fault)
                    result.fewest_reloads += in_outage > 0
                    fault, in_outage = "", 0
                elif not fault and tick in planned:
                    fault, left = planned[tick], chance.randint(1, LONGEST_FAULT)
                    result.faults[fault] += 1
                    stage.begin(fault)
                time.sleep(max(0.0, seconds_a_tick - (time.monotonic() - tick_began)))
            if fault:
                stage.end(fault)
                result.fewest_reloads += in_outage > 0
            ended = time.monotonic()
            eventually(stage.is_applied, 120, what="the file says what is true")
            eventually(stage.consul_is_true, 120, what="Consul says what is true")
            result.settled_after = time.monotonic() - ended
        result.seconds = time.monotonic() - began
        result.changes = result.fewest_writes = stage.truth.changes
        result.writes, result.reloads = stage.writes - writes, stage.reload_count() - reloads
    return result


def _plan(chance: random.Random, ticks: int) -> dict[int, str]:
    """Which fault begins in which tick: each kind in turn, in a random order, with some quiet ticks between them."""
    planned: dict[int, str] = {}
    kinds: list[str] = []
    tick = 2
    while tick < ticks - LONGEST_FAULT - 2:
        if not kinds:
            kinds = chance.sample(OUTAGES + HINDRANCES, len(OUTAGES + HINDRANCES))
        planned[tick] = kinds.pop()
        tick += LONGEST_FAULT + chance.randint(1, 4)
    return planned


@contextlib.contextmanager
def _looking_for_gaps(stage: Stage, result: Result) -> Iterator[None]:
    """Every service has instances all the time, so the file must always have some of each."""
    stop, names = threading.Event(), set(stage.truth.lines())

    def look() -> None:
        lacking: set[str] = set()
        while not stop.wait(0.05):
            found = stage.lines()
            lacking |= {name for name in names if not found.get(name)}
        result.emptied = sorted(lacking)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
