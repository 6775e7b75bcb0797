"""How long the platform's main job takes on one machine, with the settings of `dromos up`.

`python -m bench.story [--neighbours embedded real]`

The sample app with two instances is deployed, loses one by a SIGKILL, is updated under load, and destroyed; another one like it gets
three times the load that it is to have, out of none. A time runs from before the command, the signal or the load to the first look at which
a user sees the outcome at the edge (or, where it says so, in the API). "Failed" are the requests that went wrong meanwhile; those in the
first second after the SIGKILL, which the instance may have had under way, are told as such. Exits with 1 where a goal is missed.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.support.load import LoadResult
from tests.support.platform import ROOT, Platform, kill_task, platform, real_neighbours
from tests.support.waiting import eventually

APP, HOST = "/hello", "hello.localhost"
BUSY, BUSY_HOST = "/busy", "busy.localhost"
TARGET, INSTANCES = 20, 2  # requests a second for each instance, as its label says
PATIENCE = 300.0  # seconds until a step counts as stuck


@dataclass
class Step:
    """`goal` in seconds; None where only requests are counted."""

    name: str
    seconds: float
    goal: float | None = None
    requests: int = 0
    failed: int = 0
    allowed: int = 0

    @property
    def is_met(self) -> bool:
        return self.failed <= self.allowed and (self.goal is None or self.seconds <= self.goal)


@dataclass
class Story:
    one: Platform
    steps: list[Step] = field(default_factory=list)

    def tell(self) -> None:
        self.deploy()
        with self.one.under_load(HOST, rate=TARGET * INSTANCES) as load:
            self.lose_an_instance(load)
            self.update(load)
        self.destroy()
        self.scale_by_load()

    def deploy(self) -> None:
        began = time.monotonic()
        self.one.deploy(app("1"))
        self._until(lambda: len(self.one.answers(HOST)) == INSTANCES)
        self._took("deploy: both instances answer", began, 15)
        self._until(lambda: self.one.get("/v2/deployments") == [])

    def lose_an_instance(self, load: LoadResult) -> None:
        victim = self.one.tasks(APP)[0]["id"]
        began, sent = time.monotonic(), load.requests
        kill_task(victim)
        self._until(lambda: len(found := self._answering()) == INSTANCES and victim not in found)
        second = began - load.started + 1
        late = sum(at > second for at, _ in load.failures)
        at_once = load.failed - late
        self._took("kill -9: two answer again", began, 10, load.requests - sent, load.failed, allowed=at_once)

    def update(self, load: LoadResult) -> None:
        began, sent, failed = time.monotonic(), load.requests, load.failed
        self.one.deploy(app("2"), "--wait")
        self._until(lambda: {body.split(",")[1] for body in self.one.answers(HOST)} == {" version 2"})
        self._took("update: version 2 alone answers", began, None, load.requests - sent, load.failed - failed)

    def destroy(self) -> None:
        began = time.monotonic()
        self.one.ok("destroy", APP, "--wait")
        self._until(lambda: self.one.edge(HOST).status_code == 404)
        self._took("destroy: the route is gone", began, None)

    def scale_by_load(self) -> None:
        self.one.deploy(app("1", BUSY), "--wait")
        eventually(lambda: self.one.edge(BUSY_HOST).status_code == 200, PATIENCE, 1)
        began = time.monotonic()
        with self.one.under_load(BUSY_HOST, rate=3 * TARGET * INSTANCES) as load:
            self._until(lambda: self.one.get(f"/v2/apps{BUSY}")["app"]["instances"] > INSTANCES)
            self._took("3 × the load: more are wanted (API)", began, 30, load.requests, load.failed)
            self._until(lambda: len(load.bodies) > INSTANCES)
            self._took("3 × the load: more than two answer", began, None, load.requests, load.failed)

    def _answering(self) -> set[str]:
        return {body.split()[-1] for body in self.one.answers(HOST)}

    def _until(self, check: Callable[[], object]) -> None:
        eventually(check, PATIENCE, 0.02)

    def _took(
        self, name: str, began: float, goal: float | None, requests: int = 0, failed: int = 0, allowed: int = 0
    ) -> None:
        self.steps.append(Step(name, time.monotonic() - began, goal, requests, failed, allowed))


def app(version: str, app_id: str = APP) -> dict[str, Any]:
    """Only the busy one is autoscaled: every look at the edge is a load, too."""
    found: dict[str, Any] = orjson.loads((ROOT / "marathon_apps" / "hello.json").read_bytes())
    found |= {"id": app_id, "instances": INSTANCES, "cmd": found["cmd"].replace("version 1", f"version {version}")}
    labels = found["labels"] | ({"HAPROXY_0_VHOST": BUSY_HOST} if app_id == BUSY else {})
    if app_id != BUSY:
        labels = {name: value for name, value in labels.items() if not name.startswith("DROMOS_AUTOSCALE")}
    return found | {"labels": labels}


@contextlib.contextmanager
def running(neighbours: str, directory: Path) -> Iterator[Platform]:
    with contextlib.ExitStack() as stack:
        flags = stack.enter_context(real_neighbours(directory)) if neighbours == "real" else ()
        yield stack.enter_context(platform(directory / "state", *flags))


def shown(neighbours: str, steps: list[Step]) -> Table:
    table = Table("step", "seconds", "goal", "requests", "failed", title=f"{neighbours} Mesos and Consul")
    for step in steps:
        failed = f"{step.failed} (first second)" if step.allowed else str(step.failed)
        counts = (str(step.requests), failed) if step.requests else ("", "")
        table.add_row(step.name, f"{step.seconds:.1f}", f"{step.goal:.0f}" if step.goal else "", *counts)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", nargs="+", choices=("embedded", "real"), default=["embedded", "real"])
    missed = []
    for neighbours in parser.parse_args().neighbours:
        with tempfile.TemporaryDirectory() as directory, running(neighbours, Path(directory)) as one:
            story = Story(one)
            story.tell()
        Console(width=110).print(shown(neighbours, story.steps))
        missed += [f"{neighbours}: {step.name}" for step in story.steps if not step.is_met]
    if missed:
        sys.exit(f"goals missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
