"""Announcements of the bus as server-sent events: `id`, `event`, and `data` with `eventType` and `timestamp`."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from framework.api.answers.cache import dumps
from framework.api.answers.deployments import plan_json, step_json
from framework.engine.bus import Announcement
from framework.model.codec import to_json
from framework.model.deployment import Deployment, Step, StepAction
from framework.model.instance import IpAddress

Document = dict[str, Any]

MANY = 100  # apps and pods in a plan that is better spelled beside the event loop


class Events:
    """Spells them. A plan may hold thousands of definitions, and is in several events of its deployment: the plans of the last
    `plans_kept` deployments are made once, for all events and all who listen."""

    def __init__(self, plans_kept: int = 8) -> None:
        self._most = plans_kept
        self._plans: dict[tuple[str, bool], bytes] = {}

    def bytes_of(self, announcement: Announcement, *, light: bool) -> bytes:
        data = dumps(self._document(announcement, light=light))
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (announcement.id, announcement.type.encode(), data)

    def is_quick(self, announcement: Announcement, *, light: bool) -> bool:
        """Whether that takes no time worth speaking of."""
        plan = announcement.fields.get("plan")
        return not isinstance(plan, Deployment) or len(plan.changes) <= MANY or (plan.id, light) in self._plans

    def _document(self, announcement: Announcement, *, light: bool) -> Document:
        fields = {
            name: self._plan(value, light) if isinstance(value, Deployment) else _spelled(value)
            for name, value in announcement.fields.items()
        }
        return {**fields, "eventType": announcement.type, "timestamp": announcement.timestamp}

    def _plan(self, deployment: Deployment, light: bool) -> orjson.Fragment:
        key = deployment.id, light  # nothing of its plan changes after its start
        made = self._plans.get(key)
        if made is None:
            made = self._plans[key] = dumps(plan_json(deployment, light=light))
            for oldest in list(self._plans)[: -self._most]:
                self._plans.pop(oldest, None)
        return orjson.Fragment(made)


def _spelled(value: object) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Step):
        return step_json(value)
    if isinstance(value, IpAddress):
        return {"ipAddress": value.ip_address, "protocol": value.protocol}
    if isinstance(value, Mapping):
        return {str(key): _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        if value and all(isinstance(item, StepAction) for item in value):
            return step_json(Step(tuple(value)))
        return [_spelled(item) for item in value]
    return to_json(value)
