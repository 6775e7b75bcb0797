"""Persistent volumes as `/v2/volumes` shows them."""

from collections.abc import Iterator
from typing import Any

from framework.decide.disks import persistent_volumes
from framework.engine.view import View
from framework.model.instance import Instance, persistence_id
from framework.model.timestamp import to_text

Document = dict[str, Any]


def volumes_json(spec_id: str, view: View) -> list[Document]:
    """Of one app or pod: the volumes of what runs, and of what ended and waits to be launched where they are. `size` is in MB."""
    instances = sorted((*view.instances(spec_id), *view.parked(spec_id)), key=lambda i: i.id)
    return [volume for instance in instances for volume in _of(instance, view)]


def _of(instance: Instance, view: View) -> Iterator[Document]:
    spec = view.spec_of(instance)
    for volume in persistent_volumes(spec) if spec else ():
        document: Document = {
            "persistenceId": persistence_id(instance.id, volume.container_path),
            "containerPath": volume.container_path,
            "size": volume.persistent.size,
            "type": volume.persistent.type,
            "runSpecId": instance.spec_id,
            "instanceId": instance.id,
            "host": instance.agent.host,
            "agentId": instance.agent.id,
            "role": instance.role,
            "status": "detached" if instance.parked else "attached",
            "since": to_text(instance.since),
        }
        if not instance.parked and instance.tasks:
            document["taskId"] = instance.tasks[0].id
        yield document
