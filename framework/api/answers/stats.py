"""`tasksStats` of an app: counts and lifetimes of its tasks, by how they relate to the current version."""

from collections.abc import Iterable
from statistics import mean, median
from typing import Any

from framework.api.answers.tasks import is_running, is_staging
from framework.engine.view import View
from framework.model.app import App
from framework.model.instance import Instance

Document = dict[str, Any]


def stats_json(app: App, view: View, now: float) -> Document:
    """Groups without tasks are left out, as in Marathon."""
    instances = list(view.instances(app.id))
    config, scaling = app.last_config_change_at, app.version_info.last_scaling_at if app.version_info else app.version
    groups = {
        "startedAfterLastScaling": [i for i in instances if i.spec_version >= scaling],
        "withLatestConfig": [i for i in instances if i.config_version == config],
        "withOutdatedConfig": [i for i in instances if i.config_version != config],
        "totalSummary": instances,
    }
    return {name: {"stats": _stats(members, now)} for name, members in groups.items() if members}


def _stats(instances: Iterable[Instance], now: float) -> Document:
    members = list(instances)
    lives = [now - task.started_at for i in members for task in i.tasks if task.started_at is not None]
    document: Document = {
        "counts": {
            "staged": sum(map(is_staging, members)),
            "running": sum(map(is_running, members)),
            "healthy": sum(i.healthy is True for i in members),
            "unhealthy": sum(i.healthy is False for i in members),
        }
    }
    if lives:
        document["lifeTime"] = {"averageSeconds": mean(lives), "medianSeconds": median(lives)}
    return document
