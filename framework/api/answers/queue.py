"""The launch queue as `/v2/queue` shows it: what waits, since when, and which offers were refused why."""

from collections.abc import Iterable, Mapping
from typing import Any

from framework.api.answers.cache import dumps, joined
from framework.decide.match_offers import REASONS
from framework.engine.view import QueueItem, UnusedOffer
from framework.model.app import App
from framework.model.offer import UNRESERVED
from framework.model.timestamp import to_text

Document = dict[str, Any]


def item_bytes(item: QueueItem, definition: bytes, unused: Iterable[UnusedOffer] | None) -> bytes:
    """`definition`: the JSON of the app or pod that waits. `unused`: the offers that were of no use to it, where they are asked for."""
    kind = b"app" if isinstance(item.spec, App) else b"pod"
    state = _state(item)
    if unused is not None:
        state["lastUnusedOffers"] = [
            {"offer": offer_json(one.offer), "reason": list(one.reasons), "timestamp": to_text(one.at)}
            for one in unused
        ]
    return joined(b'{"' + kind + b'":' + definition + b"}", dumps(state))


def _state(item: QueueItem) -> Document:
    summary: Document = {
        "processedOffersCount": item.processed_offers,
        "unusedOffersCount": item.unused_offers,
        "rejectSummaryLastOffers": _summary(item.last_rejects or {}, item.last_offers),
        "rejectSummaryLaunchAttempt": _summary(item.launch_rejects or {}, item.processed_offers),
    }
    for name, moment in (("lastUnusedOfferAt", item.last_unused_at), ("lastUsedOfferAt", item.last_used_at)):
        if moment is not None:
            summary[name] = to_text(moment)
    document: Document = {
        "count": item.count,
        "role": item.spec.role,
        "delay": {"timeLeftSeconds": max(0, int(item.delay_left)), "overdue": item.overdue},
        "since": to_text(item.since),
        "processedOffersSummary": summary,
    }
    if item.problem is not None:
        document["waitsFor"] = item.problem
    return document


def offer_json(offer: Mapping[str, Any]) -> Document:
    """An offer of Mesos, flat as Marathon tells of it; a resource's role is that of its innermost reservation."""
    return {
        "id": offer.get("id", {}).get("value", ""),
        "hostname": offer.get("hostname", ""),
        "agentId": offer.get("agent_id", {}).get("value", ""),
        "resources": [{**_value(resource), "role": _role(resource)} for resource in offer.get("resources", ())],
        "attributes": [_value(attribute) for attribute in offer.get("attributes", ())],
    }


def _role(resource: Mapping[str, Any]) -> str:
    reservations = resource.get("reservations") or ({"role": resource.get("role", UNRESERVED)},)
    return str(reservations[-1].get("role", UNRESERVED))


def _value(given: Mapping[str, Any]) -> Document:
    """The name and the one value that a resource or an attribute has: `scalar`, `ranges`, `set` or `text`."""
    found: Document = {"name": given.get("name", "")}
    if "scalar" in given:
        found["scalar"] = given["scalar"].get("value", 0)
    if "ranges" in given:
        found["ranges"] = [{"begin": r["begin"], "end": r["end"]} for r in given["ranges"].get("range", ())]
    if "set" in given:
        found["set"] = list(given["set"].get("item", ()))
    if "text" in given:
        found["text"] = given["text"].get("value", "")
    return found


def _summary(declined: Mapping[str, int], processed: int) -> list[Document]:
    """Each reason sees only the offers that the ones before it let through."""
    rows = []
    for reason in REASONS:
        count = declined.get(reason, 0)
        rows.append({"reason": reason, "declined": count, "processed": processed})
        processed = max(0, processed - count)
    return rows
