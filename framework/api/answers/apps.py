"""Apps as `/v2/apps` shows them: the definition, and what `embed` asks for of its state."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from framework.api.answers.cache import JsonCache, dumps, joined
from framework.api.answers.deployments import readiness_json
from framework.api.answers.stats import stats_json
from framework.api.answers.tasks import Tasks
from framework.api.label_selector import Selector
from framework.engine.view import View
from framework.model.app import App
from framework.model.instance import TaskFailure
from framework.model.timestamp import to_text

Document = dict[str, Any]

COUNTS, DEPLOYMENTS, TASKS = "apps.counts", "apps.deployments", "apps.tasks"
READINESS, LAST_FAILURE, STATS = "apps.readiness", "apps.lastTaskFailure", "apps.taskStats"
ROTATION = "apps.rotation"  # not Marathon's, whose clients may choke on members of a task that they do not know
BARE: frozenset[str] = frozenset()
ALWAYS = frozenset({COUNTS, DEPLOYMENTS})
WHOLE = ALWAYS | {TASKS, LAST_FAILURE}  # of an app that is asked for by its id, whatever it is to embed besides

_PREFIX = re.compile(r"^(group\.apps\.|apps?\.)")


def embedded(names: Iterable[str]) -> frozenset[str]:
    """The parts that `embed` parameters name, unknown ones aside: `apps.tasks`, `app.tasks`, `group.apps.tasks` and `tasks` are one.

    With tasks come deployments, as ever. `failures` is the old name of tasks and last failure together.
    """
    given = {"apps." + _PREFIX.sub("", name, count=1) for name in names}
    if "apps.failures" in given:
        given |= {TASKS, LAST_FAILURE}
    known = given & {COUNTS, DEPLOYMENTS, TASKS, READINESS, LAST_FAILURE, STATS, ROTATION}
    return frozenset(known | ({DEPLOYMENTS} if TASKS in known else set()))


class Apps:
    def __init__(self, view: View, tasks: Tasks, clock: Callable[[], float]) -> None:
        self._view, self._tasks, self._clock = view, tasks, clock
        self._definitions: JsonCache[App] = JsonCache()

    def bytes_of(self, app: App, parts: frozenset[str]) -> bytes:
        """The app's JSON with the parts of its state that are asked for; without any, the bare definition."""
        definition = self._definitions.bytes_of(app.id, app)
        state: Document = {}
        if COUNTS in parts:
            counts = self._view.counts(app.id)
            state["tasksStaged"], state["tasksRunning"] = counts.staged, counts.running
            state["tasksHealthy"], state["tasksUnhealthy"] = counts.healthy, counts.unhealthy
        if DEPLOYMENTS in parts:
            state["deployments"] = [{"id": deployment} for deployment in self._view.deployments_of(app.id)]
        if READINESS in parts:
            state["readinessCheckResults"] = [readiness_json(r, self._view) for r in self._view.readiness(app.id)]
        failure = self._view.last_failure(app.id) if LAST_FAILURE in parts else None
        if failure is not None:
            state["lastTaskFailure"] = failure_json(failure)
        if STATS in parts:
            state["tasksStats"] = stats_json(app, self._view, self._clock())
        if ROTATION in parts:
            state["rotation"] = self._tasks.out_of_rotation(app.id)
        whole = joined(definition, dumps(state)) if state else definition
        if TASKS in parts:
            whole = whole[:-1] + b',"tasks":' + self._tasks.list_of(app.id) + b"}"
        return whole


def created_json(app: App, deployment_ids: Iterable[str]) -> Document:
    """What the creation of an app answers, next to its definition."""
    return {
        "tasks": [],
        "tasksStaged": 0,
        "tasksRunning": 0,
        "tasksHealthy": 0,
        "tasksUnhealthy": 0,
        "deployments": [{"id": deployment} for deployment in deployment_ids],
    }


def failure_json(failure: TaskFailure) -> Document:
    return {
        "appId": failure.app_id,
        "host": failure.host,
        "message": failure.message,
        "state": failure.state,
        "taskId": failure.task_id,
        "timestamp": to_text(failure.at),
        "version": failure.version,
        "slaveId": failure.agent_id,
    }


def matching(apps: Mapping[str, App], *, cmd: str | None, id_part: str | None, labels: Selector | None) -> list[App]:
    """Filters of `GET /v2/apps`: parts of cmd and id in any case, and label selectors; sorted by id."""
    found = [
        app
        for app in apps.values()
        if (cmd is None or (app.cmd is not None and cmd.lower() in app.cmd.lower()))
        and (id_part is None or id_part.lower() in app.id.lower())
        and (labels is None or labels(app.labels))
    ]
    return sorted(found, key=lambda app: app.id)
