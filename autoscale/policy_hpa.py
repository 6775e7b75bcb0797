"""Kubernetes' HorizontalPodAutoscaler (autoscaling/v1 and v2) in our keys.

Source: the autoscaling/v2 API reference; defaults of `behavior` as in the section "Default behavior" of Kubernetes' own documentation.
"""

from collections.abc import Mapping
from typing import Any

from autoscale.errors import PolicyError

UP_RATE = "100%/15s,4/15s"
DOWN_RATE = "100%/15s"
STABILISATION = 300
CPU = 0.8  # where no metric is named
_SUFFIXES = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def translate(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """App id and keys. The app is the one that `scaleTargetRef` names, below its namespace's group if it names one."""
    kind = document.get("kind")
    if kind != "HorizontalPodAutoscaler":
        raise PolicyError(f"kind {kind!r} is not HorizontalPodAutoscaler")
    spec = _table(document.get("spec"), "spec")
    name = _table(spec.get("scaleTargetRef"), "spec.scaleTargetRef").get("name")
    if not isinstance(name, str) or not name:
        raise PolicyError("spec.scaleTargetRef.name is missing: it names the app")
    if "maxReplicas" not in spec:
        raise PolicyError(f"{name}: spec.maxReplicas is missing")
    namespace = _table(document.get("metadata") or {}, "metadata").get("namespace", "default")
    app = "/".join(["", *([] if namespace == "default" else [str(namespace)]), name.strip("/")])
    keys = {"min": spec.get("minReplicas", 1), "max": spec["maxReplicas"]}
    return app, {**keys, **_metrics(spec, name), **behaviour(spec.get("behavior") or {})}


def behaviour(block: Any) -> dict[str, Any]:
    """HPA's `behavior`: `scaleUp` and `scaleDown`, with HPA's own defaults for what they leave out."""
    whole = _table(block, "behavior")
    unknown = whole.keys() - {"scaleUp", "scaleDown"}
    if unknown:
        raise PolicyError(f"behavior.{min(unknown)} is not known; known are scaleUp and scaleDown")
    up, down = (_table(whole.get(key) or {}, f"behavior.{key}") for key in ("scaleUp", "scaleDown"))
    return {
        "up_after": up.get("stabilizationWindowSeconds", 0),
        "up_rate": _rates(up, "scaleUp", UP_RATE),
        "up_select": _select(up, "scaleUp"),
        "down_after": down.get("stabilizationWindowSeconds", STABILISATION),
        "down_rate": _rates(down, "scaleDown", DOWN_RATE),
        "down_select": _select(down, "scaleDown"),
    }


def _rates(rules: Mapping[str, Any], name: str, default: str) -> str:
    found = []
    for rule in rules.get("policies") or []:
        one = _table(rule, f"behavior.{name}.policies")
        kind, value, period = one.get("type"), one.get("value"), one.get("periodSeconds")
        if kind not in ("Pods", "Percent") or not isinstance(value, int) or not isinstance(period, int):
            raise PolicyError(f"behavior.{name}.policies: a policy has type Pods or Percent, value, and periodSeconds")
        found.append(f"{value}{'%' if kind == 'Percent' else ''}/{period}s")
    return ",".join(found) or default


def _select(rules: Mapping[str, Any], name: str) -> str:
    known = {"Max": "max", "Min": "min", "Disabled": "off"}
    given = rules.get("selectPolicy", "Max")
    if given not in known:
        raise PolicyError(f"behavior.{name}.selectPolicy {given!r} is none of {', '.join(known)}")
    return known[given]


def _metrics(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    if "targetCPUUtilizationPercentage" in spec:
        return {"cpu": _share(spec["targetCPUUtilizationPercentage"], f"{name}: targetCPUUtilizationPercentage")}
    found: dict[str, Any] = {}
    for metric in spec.get("metrics") or []:
        one = _table(metric, f"{name}: spec.metrics")
        found |= _metric(one, name)
    return found or {"cpu": CPU}


def _metric(metric: Mapping[str, Any], app: str) -> dict[str, Any]:
    kind = metric.get("type")
    match kind:
        case "Resource" | "ContainerResource":
            block = _table(metric.get("resource" if kind == "Resource" else "containerResource"), f"{app}: {kind}")
            resource, target = block.get("name"), _table(block.get("target"), f"{app}: target")
            if resource not in ("cpu", "memory") or target.get("type") != "Utilization":
                raise PolicyError(
                    f"{app}: of resources, cpu and memory with a target of type Utilization can be translated"
                )
            return {str(resource): _share(target.get("averageUtilization"), f"{app}: {resource}")}
        case "Pods":
            block = _table(metric.get("pods"), f"{app}: Pods")
            return {"target": _quantity(_table(block.get("target"), f"{app}: target").get("averageValue"), app)}
        case "External":
            block = _table(metric.get("external"), f"{app}: External")
            target = _table(block.get("target"), f"{app}: target")
            selected = _table(block.get("metric"), f"{app}: metric")
            return {"query": _query(selected, app), "query_target": _quantity(target.get("averageValue"), app)}
    raise PolicyError(f"{app}: a metric of type {kind!r} cannot be translated; Resource, Pods and External can")


def _query(metric: Mapping[str, Any], app: str) -> str:
    """The metric's name and labels as a Prometheus query."""
    labels = _table(
        _table(metric.get("selector") or {}, f"{app}: selector").get("matchLabels") or {}, f"{app}: matchLabels"
    )
    matchers = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"sum({metric.get('name', '')}{{{matchers}}})"


def _escaped(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _quantity(value: Any, app: str) -> float:
    """Kubernetes' numbers: `100`, `500m`, `2k`."""
    text = str(value)
    suffix = next((s for s in sorted(_SUFFIXES, key=len, reverse=True) if text.endswith(s)), "")
    try:
        return float(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, 1.0)
    except ValueError:
        raise PolicyError(f"{app}: {value!r} is not an averageValue like 100 or 500m") from None


def _share(value: Any, what: str) -> float:
    if not isinstance(value, int) or value <= 0:
        raise PolicyError(f"{what}: {value!r} is not a utilisation in percent")
    return value / 100


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{what} is to be a table")
    return value
