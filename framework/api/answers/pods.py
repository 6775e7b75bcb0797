"""The status of pods as `/v2/pods/…::status` shows it."""

from typing import Any

from framework.api.answers.tasks import local_volumes
from framework.engine.view import View
from framework.model.codec import to_json
from framework.model.instance import Condition, Instance, Task, TaskFailure
from framework.model.pod import Pod, PodContainer
from framework.model.timestamp import to_text

Document = dict[str, Any]

_INSTANCE_STATUS = {
    Condition.SCHEDULED: "PENDING",
    Condition.PROVISIONED: "PENDING",
    Condition.STAGING: "STAGING",
    Condition.STARTING: "STAGING",
    Condition.RUNNING: "STABLE",
    Condition.UNREACHABLE: "DEGRADED",
    Condition.UNREACHABLE_INACTIVE: "DEGRADED",
}


def status_json(pod: Pod, view: View, now: float) -> Document:
    instances = [instance_json(instance, view) for instance in view.instances(pod.id)]
    stable = len(instances) == pod.instances and all(i["status"] == "STABLE" for i in instances)
    since = max([i["statusSince"] for i in instances], default=pod.version)
    failure = view.last_failure(pod.id)
    return {
        "id": pod.id,
        "spec": to_json(pod),
        "status": "STABLE" if stable else "DEGRADED",
        "statusSince": since,
        "instances": instances,
        "terminationHistory": [termination_json(failure)] if failure else [],
        "lastUpdated": to_text(now),
        "lastChanged": since,
    }


def instance_json(instance: Instance, view: View) -> Document:
    spec = view.spec_of(instance)
    containers = {c.name: c for c in spec.containers} if isinstance(spec, Pod) else {}
    status = _INSTANCE_STATUS.get(instance.condition, "TERMINAL")
    if status == "STABLE" and instance.healthy is False:
        status = "DEGRADED"
    since = to_text(instance.since)
    document: Document = {
        "id": instance.id,
        "status": status,
        "statusSince": since,
        "lastUpdated": since,
        "lastChanged": since,
        "agentHostname": instance.agent.host,
        "agentId": instance.agent.id,
        "networks": _networks(instance),
        "containers": [container_json(task, containers.get(task.container or "")) for task in instance.tasks],
        "specReference": f"/v2/pods{instance.spec_id}::versions/{instance.spec_version}",
        "localVolumes": local_volumes(instance, spec),
        "role": instance.role,
    }
    for name, is_so in (("held", instance.held), ("draining", instance.leaving)):
        if is_so:
            document[name] = True
    if spec is not None:
        document["resources"] = to_json(spec.resources)
    for name, value in (("agentRegion", instance.agent.region), ("agentZone", instance.agent.zone)):
        if value is not None:
            document[name] = value
    return document


def termination_json(failure: TaskFailure) -> Document:
    """The last instance that ended by itself, with its containers as they were then: which of them was the cause shows in their states."""
    return {
        "instanceID": failure.task_id.rpartition(".")[0].rpartition(".")[0],
        "startedAt": to_text(failure.at if failure.started_at is None else failure.started_at),
        "terminatedAt": to_text(failure.at),
        "message": failure.message,
        "containers": [
            {"containerId": end.task_id, "lastKnownState": end.state, "termination": {"message": end.message}}
            for end in failure.containers
        ],
    }


def container_json(task: Task, container: PodContainer | None) -> Document:
    moment = task.started_at if task.started_at is not None else task.staged_at
    document: Document = {
        "name": task.container or "",
        "containerId": task.id,
        "status": task.mesos_state,
        "statusSince": to_text(moment),
        "lastUpdated": to_text(moment),
        "lastChanged": to_text(moment),
        "conditions": [],
        "endpoints": [],
    }
    if task.healthy is not None:
        document["conditions"] = [
            {
                "name": "healthy",
                "value": str(task.healthy).lower(),
                "lastChanged": to_text(moment),
                "lastUpdated": to_text(moment),
            }
        ]
    if task.message:
        document["message"] = task.message
    if container is not None:
        document["resources"] = to_json(container.resources)
        ports = iter(task.host_ports)
        for endpoint in container.endpoints:
            allocated: Document = {"name": endpoint.name}
            if endpoint.host_port is not None:
                allocated["allocatedHostPort"] = next(ports, None)
            if task.healthy is not None:
                allocated["healthy"] = task.healthy
            document["endpoints"].append(allocated)
    return document


def _networks(instance: Instance) -> list[Document]:
    addresses = list(dict.fromkeys(ip.ip_address for task in instance.tasks for ip in task.ip_addresses))
    return [{"addresses": addresses}] if addresses else []
