"""Tasks as `/v2/tasks` and the apps show them."""

from collections.abc import Iterable, Mapping
from typing import Any

from framework.api.answers.cache import dumps
from framework.decide.disks import persistent_volumes
from framework.engine.view import View
from framework.model.app import App
from framework.model.instance import Condition, HealthResult, Instance, persistence_id
from framework.model.run_spec import RunSpec
from framework.model.timestamp import to_text

Document = dict[str, Any]

STAGING = frozenset({Condition.PROVISIONED, Condition.STAGING, Condition.STARTING})
_MOST_CACHED = 200_000


class Tasks:
    """The tasks of apps, from the view; JSON is kept as long as instance and health results stay the same."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._made: dict[str, tuple[Instance, tuple[HealthResult, ...], bytes]] = {}

    def of(self, app_id: str) -> list[bytes]:
        return [self.bytes_of(instance) for instance in self._view.instances(app_id)]

    def list_of(self, app_id: str) -> bytes:
        return b"[" + b",".join(self.of(app_id)) + b"]"

    def out_of_rotation(self, app_id: str) -> Document:
        """Ids of the tasks that are to get no traffic: `held` ones wait for a go, `draining` ones are about to end."""
        instances = self._view.instances(app_id)
        return {
            "held": [i.tasks[0].id for i in instances if i.held],
            "draining": [i.tasks[0].id for i in instances if i.leaving],
        }

    def bytes_of(self, instance: Instance) -> bytes:
        health = self._view.health(instance.id)
        known = self._made.get(instance.id)
        if known is not None and known[0] is instance and known[1] == health:
            return known[2]
        if len(self._made) >= _MOST_CACHED:
            self._made.clear()
        made = dumps(task_json(instance, self._view.spec_of(instance), health))
        self._made[instance.id] = (instance, health, made)
        return made


def task_json(instance: Instance, spec: RunSpec | None, health: Iterable[HealthResult]) -> Document:
    """Of an app's instance, which has one task. `spec` is the app in the version that the instance was started with."""
    task = instance.tasks[0]
    document: Document = {
        "id": task.id,
        "appId": instance.spec_id,
        "host": instance.agent.host,
        "slaveId": instance.agent.id,
        "state": task.mesos_state,
        "stagedAt": to_text(task.staged_at),
        "version": instance.spec_version,
        "ports": list(task.host_ports),
        "ipAddresses": [{"ipAddress": ip.ip_address, "protocol": ip.protocol} for ip in task.ip_addresses],
        "role": instance.role,
        "localVolumes": local_volumes(instance, spec),
        "healthCheckResults": [health_json(result) for result in health],
    }
    if task.started_at is not None:
        document["startedAt"] = to_text(task.started_at)
    if isinstance(spec, App):
        document["servicePorts"] = list(spec.service_ports)
    for name, value in (("region", instance.agent.region), ("zone", instance.agent.zone)):
        if value is not None:
            document[name] = value
    return document


def local_volumes(instance: Instance, spec: RunSpec | None) -> list[Document]:
    volumes = persistent_volumes(spec) if spec else ()
    return [
        {"containerPath": v.container_path, "persistenceId": persistence_id(instance.id, v.container_path)}
        for v in volumes
    ]


def health_json(result: HealthResult) -> Document:
    document: Document = {
        "instanceId": result.instance_id,
        "alive": result.alive,
        "consecutiveFailures": result.consecutive_failures,
    }
    for name, moment in (
        ("firstSuccess", result.first_success),
        ("lastSuccess", result.last_success),
        ("lastFailure", result.last_failure),
    ):
        if moment is not None:
            document[name] = to_text(moment)
    if result.last_failure_cause is not None:
        document["lastFailureCause"] = result.last_failure_cause
    return document


def is_staging(instance: Instance) -> bool:
    return instance.condition in STAGING


def is_running(instance: Instance) -> bool:
    return instance.condition is Condition.RUNNING


def endpoints_text(apps: Mapping[str, App], view: View) -> str:
    """One line for each app and service port: `app_id<TAB>service port<TAB>host:port<TAB>…`, for simple load balancers."""
    lines = []
    for app in apps.values():
        name = app.id[1:].replace("/", "_")
        running = [i for i in view.instances(app.id) if is_running(i) and i.healthy is not False and not i.held]
        if not app.service_ports:
            lines.append("\t".join([name, " ", *(instance.agent.host for instance in running), ""]))
        for index, service_port in enumerate(app.service_ports):
            where = [f"{i.agent.host}:{i.host_ports[index]}" for i in running if index < len(i.host_ports)]
            lines.append("\t".join([name, str(service_port), *where, ""]))
    return "".join(line + "\n" for line in lines)
