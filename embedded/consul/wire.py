"""The shapes of the model on the wire: plain objects, in the field order of the real one."""

import base64
from collections.abc import Iterable
from typing import Any

from embedded.consul.model import Check, Entry, Node, Service, Session

Json = dict[str, Any]

_NO_PROXY: Json = {"MeshGateway": {}, "Expose": {}}


def node(it: Node, datacenter: str) -> Json:
    return {
        "ID": it.id,
        "Node": it.name,
        "Address": it.address,
        "Datacenter": datacenter,
        "TaggedAddresses": it.tagged_addresses,
        "Meta": it.meta,
        "CreateIndex": it.created,
        "ModifyIndex": it.modified,
    }


def node_service(it: Service) -> Json:
    """A service as /v1/health/service and /v1/catalog/node show it."""
    shape: Json = {"Kind": it.kind} if it.kind else {}
    shape |= {"ID": it.id, "Service": it.name, "Tags": it.tags, "Address": it.address}
    if it.tagged_addresses:
        shape["TaggedAddresses"] = it.tagged_addresses
    return shape | {
        "Meta": it.meta,
        "Port": it.port,
        "Weights": {"Passing": it.passing_weight, "Warning": it.warning_weight},
        "EnableTagOverride": it.enable_tag_override,
        "Proxy": _NO_PROXY | it.proxy,
        "Connect": it.connect,
        "CreateIndex": it.created,
        "ModifyIndex": it.modified,
    }


def catalog_service(it: Service, on: Node, datacenter: str) -> Json:
    """A service as /v1/catalog/service shows it."""
    shape: Json = {
        "ID": on.id,
        "Node": on.name,
        "Address": on.address,
        "Datacenter": datacenter,
        "TaggedAddresses": on.tagged_addresses,
        "NodeMeta": on.meta,
        "ServiceKind": it.kind,
        "ServiceID": it.id,
        "ServiceName": it.name,
        "ServiceTags": it.tags,
        "ServiceAddress": it.address,
    }
    if it.tagged_addresses:
        shape["ServiceTaggedAddresses"] = it.tagged_addresses
    return shape | {
        "ServiceWeights": {"Passing": it.passing_weight, "Warning": it.warning_weight},
        "ServiceMeta": it.meta or {},
        "ServicePort": it.port,
        "ServiceEnableTagOverride": it.enable_tag_override,
        "ServiceProxy": _NO_PROXY | it.proxy,
        "ServiceConnect": it.connect,
        "CreateIndex": it.created,
        "ModifyIndex": it.modified,
    }


def agent_service(it: Service) -> Json:
    """A service as /v1/agent/services shows it."""
    shape: Json = {"Kind": it.kind} if it.kind else {}
    shape |= {
        "ID": it.id,
        "Service": it.name,
        "Tags": it.tags,
        "Meta": it.meta or {},
        "Port": it.port,
        "Address": it.address,
    }
    if it.tagged_addresses:
        shape["TaggedAddresses"] = it.tagged_addresses
    shape |= {
        "Weights": {"Passing": it.passing_weight, "Warning": it.warning_weight},
        "EnableTagOverride": it.enable_tag_override,
    }
    if it.proxy:
        shape["Proxy"] = it.proxy
    if it.connect:
        shape["Connect"] = it.connect
    return shape


def check(it: Check) -> Json:
    return {
        "Node": it.node,
        "CheckID": it.id,
        "Name": it.name,
        "Status": it.status,
        "Notes": it.notes,
        "Output": it.output,
        "ServiceID": it.service_id,
        "ServiceName": it.service_name,
        "ServiceTags": it.service_tags,
        "Type": it.type,
        "Definition": it.definition,
        "CreateIndex": it.created,
        "ModifyIndex": it.modified,
    }


def entry(it: Entry, *, value: bool = True) -> Json:
    shape: Json = {
        "LockIndex": it.lock_index,
        "Key": it.key,
        "Flags": it.flags,
        "Value": base64.b64encode(it.value).decode() if value and it.value else None,
    }
    if it.session:
        shape["Session"] = it.session
    return shape | {"CreateIndex": it.created, "ModifyIndex": it.modified}


def session(it: Session) -> Json:
    shape: Json = {
        "ID": it.id,
        "Name": it.name,
        "Node": it.node,
        "LockDelay": it.lock_delay,
        "Behavior": it.behavior,
        "TTL": it.ttl,
        "NodeChecks": it.node_checks,
        "ServiceChecks": [{"ID": id, "Namespace": ""} for id in it.service_checks] if it.service_checks else None,
    }
    if it.checks:
        shape["Checks"] = it.checks
    return shape | {"CreateIndex": it.created, "ModifyIndex": it.modified}


def checks(them: Iterable[Check]) -> list[Json]:
    return [check(it) for it in them]
