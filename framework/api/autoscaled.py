"""The instance count of an app that an autoscaler looks after is the autoscaler's: a definition that is sent again does not undo it.

The rule, where the app is there already and has instances:
- what is sent is a definition (it says more than `instances`), and by its labels the app is autoscaled: the count stays as it is;
- `instances` alone, or `instances: 0`, is an order, and is followed.
An app is autoscaled by its labels if one names a target; `DROMOS_AUTOSCALE_KEEP` says so too (`true`, for apps that a policy file
names), or that a definition's count is to be followed nevertheless (`false`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from framework.model.app import App

PREFIX = "DROMOS_AUTOSCALE_"
KEEP_LABEL = PREFIX + "KEEP"
TARGETS = ("TARGET", "CONCURRENCY", "LATENCY", "CPU", "MEMORY", "QUEUE", "QUERY_TARGET")
_ORDER = {"id", "instances", "version"}


def kept(current: App | None, declared: App, document: Mapping[str, Any]) -> App:
    """`declared`, with the count of `current` where that is the autoscaler's."""
    is_order = not document.keys() - _ORDER
    if current is None or current.instances == 0 or declared.instances == 0 or is_order:
        return declared
    return replace(declared, instances=current.instances) if _is_autoscaled(declared.labels) else declared


def _is_autoscaled(labels: Mapping[str, str]) -> bool:
    keep = labels.get(KEEP_LABEL, "").strip().lower()
    if keep in ("true", "false"):
        return keep == "true"
    return any(PREFIX + target in labels for target in TARGETS)
