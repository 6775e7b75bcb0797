"""Following a deployment to its end: done, failed, cancelled, or not in time; and the reasons that the server gives."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dromos.api import Api, Json, app_path, pod_path
from dromos.errors import DeploymentFailedError, NotReachableError
from dromos.reasons import spec_of, why_waiting
from dromos.rollouts import waits_for_go

POLL_SECONDS = 0.5
OUTAGE_SECONDS = 60.0  # how long the API may be away (a leader change, a restart) before waiting ends
STUCK_SECONDS = 5.0  # without progress, after which the reasons are told


@dataclass(frozen=True)
class Started:
    """A deployment under way, and what it is to bring to `version` (empty: to whatever version it makes)."""

    id: str
    version: str = ""
    apps: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """An app or a pod as it is now."""

    id: str
    wanted: int
    ready: int
    version: str
    busy: bool
    failure: Json | None = None
    old: int = 0  # instances of an earlier configuration
    changed_at: str = ""  # the version that made its configuration; a change of its count alone makes another one

    def __str__(self) -> str:
        return f"{self.ready}/{self.wanted}" + (f" ({self.old} old)" if self.old else "")


class Waiting:
    """`say` gets a line whenever something has changed: instances that are ready, tasks that failed, why others wait."""

    def __init__(
        self,
        api: Api,
        started: Started,
        *,
        timeout: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._started, self._timeout, self._say = api, started, timeout, say
        self._clock, self._sleep = clock, sleep
        self._told: set[str] = set()
        self._progress = ""
        self._progress_at = 0.0
        self._old_failures: set[str] | None = None
        self._changed: set[str] | None = None  # an app that was as it should be keeps its version

    def until_done(self) -> Json | None:
        """The deployment, if it waits for a go; None when it is over.

        Raises DeploymentFailedError with what is known of the cause, NotReachableError after a long outage.
        """
        deadline = self._clock() + self._timeout
        reached = self._clock()
        while True:
            try:
                under_way: list[Json] = self._api.get("/v2/deployments")
                plan = next((item for item in under_way if item.get("id") == self._started.id), None)
                seen = self._look()
                if self._changed is None:
                    self._changed = {spec_id for spec_id, s in seen if s and s.version >= self._started.version}
                self._tell(plan, seen)
                successor = None if plan else self._successor(under_way, seen)
                reached = self._clock()
            except NotReachableError:
                if self._clock() - reached > OUTAGE_SECONDS:
                    raise
                self._sleep(POLL_SECONDS)
                continue
            if successor:
                self._say(f"deployment {self._started.id} goes on as {successor}, with another number of instances")
                self._started = replace(self._started, id=successor)
            elif plan is None:
                self._check(seen)
                return None
            elif waits_for_go(plan):
                return plan
            if self._clock() > deadline:
                ids = (*self._started.apps, *self._started.pods)
                raise DeploymentFailedError(
                    f"deployment {self._started.id} is not done after {round(self._timeout, 1):g} s and goes on;"
                    f" {reasons(self._api, ids)}"
                )
            self._sleep(POLL_SECONDS)

    def _successor(self, under_way: list[Json], seen: Sequence[tuple[str, _Seen | None]]) -> str | None:
        """The deployment that took the place of one that was not done, for the same configuration: an autoscaler wants more of it."""
        for app_id, spec in seen:
            if (
                spec is None
                or not spec.busy
                or spec.changed_at != self._started.version
                or app_id in self._started.pods
            ):
                continue
            asked = self._api.get_or_none(f"{app_path(app_id)}/versions/{self._started.version}") or {}
            if spec.old or spec.ready < min(spec.wanted, asked.get("instances", 0)):
                return next((str(item["id"]) for item in under_way if app_id in item["affectedApps"]), None)
        return None

    def _look(self) -> list[tuple[str, _Seen | None]]:
        apps = [(app_id, _app(self._api, app_id)) for app_id in self._started.apps]
        return apps + [(pod_id, _pod(self._api, pod_id)) for pod_id in self._started.pods]

    def _tell(self, plan: Json | None, seen: Sequence[tuple[str, _Seen | None]]) -> None:
        failures = {str(item.failure["taskId"]): item.failure for _, item in seen if item and item.failure}
        if self._old_failures is None:  # what failed before the deployment began is no news
            self._old_failures = set(failures)
        for task_id in [task_id for task_id in failures if task_id not in self._old_failures]:
            self._old_failures.add(task_id)
            failure = failures[task_id]
            self._say(
                f"  {failure.get('appId')} on {failure.get('host')}: {failure.get('state')}, {failure.get('message')}"
            )
        step = f"step {plan['currentStep']} of {plan['totalSteps']}: " if plan and plan.get("totalSteps", 1) > 1 else ""
        progress = step + ", ".join(f"{spec_id} {s or 'gone'}" for spec_id, s in seen)
        if progress != self._progress:
            self._say(progress)
            self._progress, self._progress_at = progress, self._clock()
        elif plan is not None and self._clock() - self._progress_at > STUCK_SECONDS:
            self._progress_at = self._clock()
            for line in waits(self._api, [spec_id for spec_id, _ in seen]):
                if line not in self._told:
                    self._told.add(line)
                    self._say(f"  {line}")

    def _stands(self, spec: _Seen) -> bool:
        """Whether what was asked for is still declared; a later change may have made another version of it."""
        if spec.changed_at and spec.changed_at == self._started.version:
            return True
        if spec.version <= self._started.version or spec.id in self._started.pods:
            return spec.version >= self._started.version
        versions = app_path(spec.id) + "/versions/"
        wanted = self._api.get_or_none(versions + self._started.version)
        current = self._api.get_or_none(versions + spec.version)
        return wanted is None or current is None or _definition(wanted) == _definition(current)

    def _check(self, seen: Sequence[tuple[str, _Seen | None]]) -> None:
        for spec_id, spec in seen:
            problem = None
            if spec is None:
                problem = f"{spec_id} does not exist any more"
            elif spec_id in (self._changed or ()) and not self._stands(spec):
                problem = f"{spec_id} is at version {spec.version}: the deployment was cancelled or rolled back"
            elif not spec.busy and spec.ready < spec.wanted:
                problem = f"{spec_id} has {spec.ready} of {spec.wanted} instances ready"
            if problem:
                raise DeploymentFailedError(
                    f"deployment {self._started.id} failed: {problem}; {reasons(self._api, (spec_id,))}"
                )


def _definition(app: Json) -> Json:
    return {name: value for name, value in app.items() if name not in ("version", "versionInfo")}


def wait_for(
    api: Api, deployment_id: str, version: str, app_ids: tuple[str, ...], *, timeout: float, say: Callable[[str], None]
) -> None:
    """For apps alone. Raises DeploymentFailedError."""
    Waiting(api, Started(deployment_id, version, app_ids), timeout=timeout, say=say).until_done()


def reasons(api: Api, ids: Sequence[str]) -> str:
    """Why apps and pods wait or fail, in one line: refused offers and the last failure of each."""
    found = waits(api, ids)
    for app_id in ids:
        failure = ((api.get_or_none(app_path(app_id)) or {}).get("app") or {}).get("lastTaskFailure")
        if failure:
            found.append(f"{app_id}: last failure {failure.get('state')}: {failure.get('message')}")
    return "; ".join(found) or "no reason is known"


def waits(api: Api, ids: Sequence[str]) -> list[str]:
    return [
        f"{spec_of(item)['id']} waits for {item.get('count', '?')} more: {why_waiting(item)}"
        for item in api.get("/v2/queue").get("queue", [])
        if spec_of(item).get("id") in ids
    ]


def _app(api: Api, app_id: str) -> _Seen | None:
    body = api.get_or_none(app_path(app_id))
    if body is None:
        return None
    app: dict[str, Any] = body["app"]
    ready = app["tasksHealthy"] if app.get("healthChecks") else app["tasksRunning"]
    changed_at = str((app.get("versionInfo") or {}).get("lastConfigChangeAt", ""))
    return _Seen(
        app_id,
        app["instances"],
        int(ready),
        app["version"],
        bool(app.get("deployments")),
        app.get("lastTaskFailure"),
        sum(str(task.get("version")) < changed_at for task in app.get("tasks") or []),
        changed_at,
    )


def _pod(api: Api, pod_id: str) -> _Seen | None:
    status = api.get_or_none(pod_path(pod_id) + "::status")
    if status is None:
        return None
    spec = status["spec"]
    stable = sum(instance.get("status") == "STABLE" for instance in status.get("instances") or [])
    return _Seen(pod_id, spec["scaling"]["instances"], stable, str(spec.get("version", "")), False)


def until_gone(api: Api, deployment_id: str, *, timeout: float, what: str) -> None:
    """Until the deployment that removes `what` is over."""
    deadline = time.monotonic() + timeout
    while any(item.get("id") == deployment_id for item in api.get("/v2/deployments")):
        if time.monotonic() > deadline:
            raise DeploymentFailedError(f"{what} still has instances after {timeout:g} s")
        time.sleep(POLL_SECONDS)
