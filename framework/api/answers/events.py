"""Announcements of the bus as server-sent events: `id`, `event`, and `data` with `eventType` and `timestamp`."""

import base64
from collections.abc import Mapping
from typing import Any

from framework.api.answers.cache import dumps
from framework.api.answers.deployments import plan_json, step_json
from framework.engine.bus import Announcement
from framework.model.codec import to_json
from framework.model.deployment import Deployment, Step, StepAction
from framework.model.instance import IpAddress

Document = dict[str, Any]


def event_bytes(announcement: Announcement, *, light: bool) -> bytes:
    data = dumps(event_json(announcement, light=light))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (announcement.id, announcement.type.encode(), data)


def size_of(announcement: Announcement) -> int:
    """How many apps and pods it speaks of."""
    plan = announcement.fields.get("plan")
    return len(plan.changes) if isinstance(plan, Deployment) else 1


def event_json(announcement: Announcement, *, light: bool) -> Document:
    fields = {name: _spelled(value, light=light) for name, value in announcement.fields.items()}
    return {**fields, "eventType": announcement.type, "timestamp": announcement.timestamp}


def _spelled(value: object, *, light: bool) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Deployment):
        return plan_json(value, light=light)
    if isinstance(value, Step):
        return step_json(value)
    if isinstance(value, IpAddress):
        return {"ipAddress": value.ip_address, "protocol": value.protocol}
    if isinstance(value, Mapping):
        return {str(key): _spelled(item, light=light) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        if value and all(isinstance(item, StepAction) for item in value):
            return step_json(Step(tuple(value)))
        return [_spelled(item, light=light) for item in value]
    return to_json(value)
