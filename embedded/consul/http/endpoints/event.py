"""/v1/event: user events."""

import base64

from embedded.consul import wire
from embedded.consul.errors import BadRequestError, PermissionDeniedError
from embedded.consul.events import EVENTS, Event, index_of
from embedded.consul.http.context import Context
from embedded.consul.http.message import Answer, Request, header, json_answer
from embedded.consul.http.query import first_of, options, refuse_other_datacenter
from embedded.consul.state.rules import READ, WRITE


async def fire(context: Context, request: Request) -> Answer:
    name = request.rest
    if not name:
        raise BadRequestError("Missing name")
    payload = await request.body()
    if not context.authorize(request).allow("event", WRITE, name):
        raise PermissionDeniedError
    refuse_other_datacenter(request, context.identity.datacenter)
    event = Event(name, payload or None, request.get("node"), request.get("service"), request.get("tag"))
    return json_answer(_shape(context.events.fire(event)) | {"LTime": 0}, request)


async def events(context: Context, request: Request) -> Answer:
    """Waits, with `?index=`, until the last event is another one."""
    name, may, wanted = request.get("name"), context.authorize(request), options(request)

    def look() -> list[Event]:
        return [it for it in context.events.list(name) if may.allow("event", READ, it.name)]

    found = look()
    if wanted.index and index_of(found) == wanted.index:
        async with request.presence() as gone:
            with context.state.ledger.watches.waiter([EVENTS]) as changed:
                await first_of(changed, gone, wanted.wait)
        found = look()
    answer = json_answer([_shape(it) for it in found], request)
    answer.headers.append(header("X-Consul-Index", index_of(found)))
    return answer


def _shape(event: Event) -> wire.Json:
    return {
        "ID": event.id,
        "Name": event.name,
        "Payload": base64.b64encode(event.payload).decode() if event.payload else None,
        "NodeFilter": event.node_filter,
        "ServiceFilter": event.service_filter,
        "TagFilter": event.tag_filter,
        "Version": 1,
        "LTime": event.time,
    }
