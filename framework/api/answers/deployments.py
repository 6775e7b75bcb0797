"""Deployments as `/v2/deployments` and the events show them."""

from typing import Any

from framework.api.answers.groups import part_json
from framework.engine.view import Readiness, View
from framework.model.app import App
from framework.model.deployment import Deployment, Progress, Rollout, Step, StepAction
from framework.model.group import Declared
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.timestamp import to_text
from framework.model.values import FrozenMap

Document = dict[str, Any]


def result_json(deployment: Deployment) -> Document:
    """What a change answers."""
    return {"version": deployment.version, "deploymentId": deployment.id}


def deployment_json(deployment: Deployment, view: View) -> Document:
    current = deployment.current_actions
    return {
        "id": deployment.id,
        "version": deployment.version,
        "affectedApps": list(deployment.affected_apps),
        "affectedPods": list(deployment.affected_pods),
        "steps": [step_json(step) for step in deployment.steps],
        "currentActions": [
            {
                **action_json(action),
                "readinessCheckResults": [readiness_json(r, view) for r in view.readiness(action.spec_id)],
                **_rollout_json(deployment, action),
            }
            for action in current
        ],
        "currentStep": min(deployment.current_step + 1, len(deployment.steps)),
        "totalSteps": len(deployment.steps),
    }


def _rollout_json(deployment: Deployment, action: StepAction) -> Document:
    """Of what is tried first: the share that it is at, and whether it waits."""
    rollout, progress = deployment.rollouts.get(action.spec_id), deployment.progress.get(action.spec_id)
    if rollout is None or progress is None or action.kind != "restart":
        return {}
    document: Document = {
        "strategy": rollout.strategy,
        "shares": [round(share * 100, 6) for share in rollout.shares],
        "phase": min(progress.phase + 1, len(rollout.shares)),
        "state": _state_of(rollout, progress),
        "failures": progress.failures,
        "maxFailures": rollout.max_failures,
    }
    if rollout.healthy_seconds is not None:
        document["healthySeconds"] = rollout.healthy_seconds
    if progress.well_since is not None:
        document["wellSince"] = to_text(progress.well_since)
    return {"rollout": document}


def _state_of(rollout: Rollout, progress: Progress) -> str:
    if progress.phase >= len(rollout.shares):
        return "completing"
    return "starting" if progress.well_since is None else f"waiting for {rollout.waits_for}"


def action_json(action: StepAction) -> Document:
    return {"action": action.marathon_name, "pod" if action.pod else "app": action.spec_id}


def step_json(step: Step) -> Document:
    return {"actions": [action_json(action) for action in step.actions]}


def plan_json(deployment: Deployment, *, light: bool) -> Document:
    """The plan in events. `original` and `target` hold what the deployment affects, not the whole tree; `light` leaves them out."""
    plan: Document = {
        "id": deployment.id,
        "version": deployment.version,
        "steps": [step_json(step) for step in deployment.steps],
    }
    if not light:
        plan["original"] = part_json(_declared(change.before for change in deployment.changes.values()))
        plan["target"] = part_json(_declared(change.after for change in deployment.changes.values()))
    return plan


def _declared(specs: Any) -> Declared:
    known: list[RunSpec] = [spec for spec in specs if spec is not None]
    apps = FrozenMap({spec.id: spec for spec in known if isinstance(spec, App)})
    pods = FrozenMap({spec.id: spec for spec in known if isinstance(spec, Pod)})
    return Declared(apps, pods).with_enclosing_groups()


def readiness_json(result: Readiness, view: View) -> Document:
    instance = view.instance(result.instance_id)
    document: Document = {
        "name": result.name,
        "taskId": instance.tasks[0].id if instance and instance.tasks else result.instance_id,
        "ready": result.ready,
    }
    if result.status is not None:
        document["lastResponse"] = {
            "status": result.status,
            "contentType": result.content_type or "",
            "body": result.body or "",
        }
    return document
