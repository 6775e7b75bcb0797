"""Why instances wait, in plain words: pure, from an item of `/v2/queue`."""

import math
from datetime import UTC, datetime
from typing import Any

BETWEEN_OFFERS = 10.0  # seconds in which having none says nothing yet: a master offers what is free every few seconds

Json = dict[str, Any]

# What one instance needs, and how an offer failed to give it. {need} is filled in where the definition says it.
_WORDS = {
    "UnfulfilledRole": "for a role that it may not use",
    "UnfulfilledConstraint": "of an agent that its constraints rule out",
    "NoCorrespondingReservationFound": "without the reservation or the volumes that it must return to",
    "AgentMaintenance": "of an agent that goes into maintenance",
    "InsufficientCpus": "with too few CPUs{need}",
    "InsufficientMemory": "with too little memory{need}",
    "InsufficientDisk": "with too little disk{need}",
    "InsufficientGpus": "with too few GPUs{need}",
    "InsufficientPorts": "without the ports that it needs{need}",
    "DeclinedScarceResources": "kept for those that need GPUs",
}
_NEEDS = {
    "InsufficientCpus": ("cpus", ""),
    "InsufficientMemory": ("mem", " MiB"),
    "InsufficientDisk": ("disk", " MiB"),
    "InsufficientGpus": ("gpus", ""),
}


def spec_of(item: Json) -> Json:
    return item.get("app") or item.get("pod") or {}


def why_waiting(item: Json, now: datetime | None = None) -> str:
    """One line for an item of the queue. Marathon's name of each reason stands in brackets, for those who search for it."""
    delay = item.get("delay") or {}
    seconds = int(delay.get("timeLeftSeconds") or 0)
    if seconds > 0:
        return f"backs off after failures, next try in {seconds} s"
    summary = item.get("processedOffersSummary") or {}
    refused = [entry for entry in summary.get("rejectSummaryLastOffers") or [] if entry.get("declined")]
    if not refused:
        refused = [entry for entry in summary.get("rejectSummaryLaunchAttempt") or [] if entry.get("declined")]
    if refused:
        return "; ".join(_refusal(entry, spec_of(item)) for entry in refused)
    if not summary.get("processedOffersCount"):
        if _waits_since(item, now) < BETWEEN_OFFERS:
            return "waits for an offer"
        return "no offer has come: no agent is there, or others hold all that the agents have"
    return "its turn has not come yet"


def _waits_since(item: Json, now: datetime | None) -> float:
    """In seconds; endless where it does not say."""
    try:
        since = datetime.fromisoformat(str(item.get("since")))
    except ValueError:
        return math.inf
    return ((now or datetime.now(UTC)) - since).total_seconds() if since.tzinfo else math.inf


def _refusal(entry: Json, spec: Json) -> str:
    name = str(entry.get("reason"))
    declined, processed = int(entry["declined"]), int(entry.get("processed") or 0)
    of = f" of {processed}" if processed >= declined else ""
    words = _WORDS.get(name, "").format(need=_need(name, spec))
    return f"{declined}{of} offers refused: {words} ({name})" if words else f"{declined}{of} offers refused ({name})"


def _need(name: str, spec: Json) -> str:
    if name == "InsufficientPorts":
        fixed = [port["port"] for port in spec.get("portDefinitions") or [] if port.get("port")]
        return f", {', '.join(map(str, fixed))}" if fixed and spec.get("requirePorts") else ""
    field, unit = _NEEDS.get(name, ("", ""))
    if not field:
        return ""
    parts = spec.get("containers")
    amount = sum(float((part.get("resources") or {}).get(field) or 0) for part in parts) if parts else spec.get(field)
    return f", it needs {amount:g}{unit}" if amount else ""
