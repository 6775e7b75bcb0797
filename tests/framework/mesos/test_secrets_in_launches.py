"""What Mesos is sent for an app or a pod with secrets, and that nobody else ever sees a value."""

import base64
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
import structlog

from framework.engine.actions import Launch
from framework.engine.events import Event, StatusReceived
from framework.mesos.scheduler import MesosScheduler
from framework.mesos.task_group import launch_group
from framework.mesos.task_info import SecretUnavailableError, task_info
from framework.model.app import App, Secret, SecretRef
from framework.model.codec import from_json
from framework.model.container import Container, DockerContainer, PullConfig
from framework.model.instance import Agent, Instance, Task
from framework.model.network import Network
from framework.model.offer import Offer, Pool, Take
from framework.model.pod import Pod
from framework.model.values import FrozenMap
from framework.model.volume import SecretVolume

VALUE = b"s3cr3t"
ENCODED = base64.b64encode(VALUE).decode()
SECRETS = FrozenMap({"db": Secret("vault:prod/db")})
AGENT = Agent("agent-1", "host-1")


def resolve(source: str) -> bytes:
    assert source == "vault:prod/db"
    return VALUE


def launch(spec: Any, *containers: str | None) -> Launch:
    tasks = tuple(Task(f"x.instance-1.{name or '_app'}.1", name) for name in containers or (None,))
    instance = Instance("x.instance-1", spec.id, "v", "v", "*", AGENT, tasks)
    return Launch(instance, spec, (Take(Pool(cpus=1000, mem=128_000), cpus=1000, mem=128_000),))


def test_a_variable_a_file_and_the_access_to_a_registry_hold_the_value() -> None:
    container = Container(
        "MESOS",
        volumes=(SecretVolume("etc/db", "db"),),
        docker=DockerContainer("private/image", pull_config=PullConfig("db")),
    )
    app = App("/x", cmd="run", secrets=SECRETS, env=FrozenMap({"DB": SecretRef("db"), "A": "b"}), container=container)
    info = task_info(launch(app), resolve)
    variables = {v["name"]: v["value"] for v in info["command"]["environment"]["variables"]}
    assert (variables["DB"], variables["A"]) == ("s3cr3t", "b")
    [volume] = info["container"]["volumes"]
    secret = {"type": "VALUE", "value": {"data": ENCODED}}
    assert volume == {"container_path": "etc/db", "mode": "RO", "source": {"type": "SECRET", "secret": secret}}
    assert info["container"]["mesos"]["image"]["docker"] == {"name": "private/image", "config": secret}


def test_a_pods_containers_get_theirs() -> None:
    pod = from_json(
        Pod,
        {
            "id": "/x",
            "secrets": {"db": {"source": "vault:prod/db"}},
            "environment": {"DB": {"secret": "db"}},
            "volumes": [{"name": "v", "secret": "db"}],
            "networks": [{"mode": "host"}],
            "containers": [
                {
                    "name": "c",
                    "resources": {"cpus": 0.5, "mem": 32},
                    "exec": {"command": {"shell": "run"}},
                    "volumeMounts": [{"name": "v", "mountPath": "etc/db"}],
                }
            ],
            "scaling": {"kind": "fixed", "instances": 1},
            "scheduling": {},
        },
    )
    [task] = launch_group(launch(pod, "c"), "f-1", resolve)["launch_group"]["task_group"]["tasks"]
    assert {"name": "DB", "type": "VALUE", "value": "s3cr3t"} in task["command"]["environment"]["variables"]
    assert task["container"]["volumes"][0]["source"]["secret"]["value"]["data"] == ENCODED


@pytest.mark.parametrize("value", [b"a\0b", b"\xff\xfe"])
def test_what_no_variable_can_hold_is_refused_without_being_shown(value: bytes) -> None:
    app = App("/x", cmd="run", secrets=SECRETS, env=FrozenMap({"DB": SecretRef("db")}), networks=(Network("host"),))
    with pytest.raises(SecretUnavailableError) as caught:
        task_info(launch(app), lambda source: value)
    assert str(caught.value) == "secret 'db' is no text, as a variable has to be; mount it as a file"


class Values:
    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem

    def fetch(self, sources: Iterable[str]) -> None:
        raise AssertionError("nobody asked")

    def value(self, source: str) -> bytes:
        if self.problem is not None:
            raise ValueError(self.problem)
        return VALUE


class Driver:
    """Keeps what it is to send; no call arrives."""

    framework_id = "f-1"
    waiting_calls = 0

    def __init__(
        self, framework: Any, master: str, told: Any, failed: Any, credentials: Any = None, **more: Any
    ) -> None:
        self.failed = failed
        self.bodies: list[Any] = []

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def call(self, body: Any, key: str, about: tuple[str, ...] = ()) -> bool:
        self.bodies.append(body)
        return False


async def accepted(secrets: Values) -> tuple[Driver, list[Event]]:
    events: list[Event] = []
    drivers: list[Driver] = []

    def new(*arguments: Any, **more: Any) -> Any:
        drivers.append(Driver(*arguments, **more))
        return drivers[0]

    mesos = MesosScheduler({"name": "t", "user": "t"}, "127.0.0.1:1", events.append, secrets=secrets, new_driver=new)
    mesos.subscribe("f-1", ["*"])
    app = App("/x", cmd="run", secrets=SECRETS, env=FrozenMap({"DB": SecretRef("db")}))
    mesos.accept(Offer("o-1", AGENT, "*", ()), [launch(app)], 5.0)
    return drivers[0], events


async def test_the_value_is_in_the_call_and_nowhere_else() -> None:
    with structlog.testing.capture_logs() as logged:
        driver, events = await accepted(Values())
    assert VALUE.decode() in orjson.dumps(driver.bodies).decode()
    assert VALUE.decode() not in repr(events) + repr(logged)


async def test_a_value_that_was_lost_meanwhile_fails_the_launch_and_says_why() -> None:
    driver, events = await accepted(Values("secret 'vault:prod/db' has not been fetched"))
    assert driver.bodies[0]["accept"]["operations"] == [], "the offer goes back"
    [event] = [event for event in events if isinstance(event, StatusReceived)]
    assert event.status.state == "TASK_ERROR" and "has not been fetched" in event.status.message
