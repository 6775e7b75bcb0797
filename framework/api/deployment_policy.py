"""How long a deployment may take and what happens then, as the labels of what it changes say."""

from typing import Literal

from framework.api.labels import DEADLINE_LABEL, ON_FAILURE_LABEL
from framework.model.change import Change

OnFailure = Literal["stop", "rollback"]


def policy_of(change: Change) -> tuple[float | None, OnFailure]:
    """The shortest deadline, in seconds, and `rollback` as soon as one asks for it."""
    labels = [spec.labels for part in (change.apps, change.pods) for spec in part.values() if spec is not None]
    deadlines = [float(given[DEADLINE_LABEL]) for given in labels if DEADLINE_LABEL in given]
    back = any(given.get(ON_FAILURE_LABEL) == "rollback" for given in labels)
    return min(deadlines, default=None), "rollback" if back else "stop"
