"""What the API may ask of the engine: values, carried out one after another by the one writer.

    result = await engine.execute(Declare(edit, force=force))

Every command either takes effect as a whole (and is durable when `execute` returns) or raises and changes nothing: see `errors`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from framework.model.change import Edit
from framework.model.deployment import Deployment
from framework.model.group import Declared
from framework.model.instance import Instance


@dataclass(frozen=True, slots=True)
class Declare:
    """Changes what is declared: create, update, partial update, scale, restart, delete, of apps, pods and groups, all in one form.

    `edit(declared)` gets what is declared at the moment the writer takes the command up, so that no update is lost, and gives the
    Change. It is pure, and raises what the API shall answer. Validation, defaults and service ports are its matter; the engine
    stamps `version` and `version_info` (of specs that differ from before, or are in `restart`), and the groups' versions, makes the
    plan, and starts it.

    `group`: what the caller changed, for the group_change events.
    `deadline`: seconds that the deployment may take, None without limit; `on_failure` says what happens then.
    `dry_run`: answers with the plan and changes nothing.
    `rollout`: labels of `decide.rollout` that hold for this change, over those of what it changes.
    `size`: how many apps and pods it is about, as far as the caller knows; a large one is worked out beside the event loop.
    """

    edit: Edit
    force: bool = False
    group: str = "/"
    deadline: float | None = None
    on_failure: Literal["stop", "rollback"] = "stop"
    dry_run: bool = False
    rollout: Mapping[str, str] = field(default_factory=dict)
    size: int = 1


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer to Declare. `deployment` may have no steps: then nothing had to be done, and it has ended already."""

    deployment: Deployment
    version: str
    declared: Declared


@dataclass(frozen=True, slots=True)
class KillInstances:
    """Kills instances by instance id. With `scale` the app's count falls by as many (one deployment); else they are replaced.

    `wipe` also gives up their persistent volumes. Ids that do not exist (any more) are passed over.
    Answer: Killed.
    """

    instance_ids: tuple[str, ...]
    scale: bool = False
    wipe: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Killed:
    """`instances` as they were before; `deployment` with `scale` only, without steps if nothing was to be done."""

    instances: tuple[Instance, ...]
    deployment: Deployment | None = None


@dataclass(frozen=True, slots=True)
class CancelDeployment:
    """Without `force` a new deployment reverts this one's changes (and no other's); with it, things stay where they are.

    Answer: Accepted of the roll-back, or None with force. Raises NotFound.
    """

    deployment_id: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Proceed:
    """The go that a canary or a blue/green deployment waits for: everything in it that waits goes on to the next share, or to the end.

    With `force` also what has not got its share yet. Answer: Accepted. Raises NotFound, and NotWaiting where nothing waits.
    """

    deployment_id: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class ResetDelay:
    """Lets a delayed app or pod start now. Raises NotFound where nothing of it is queued. Answer: None."""

    spec_id: str


@dataclass(frozen=True, slots=True)
class Abdicate:
    """Gives up leadership. Answer: None."""


Command = Declare | KillInstances | CancelDeployment | Proceed | ResetDelay | Abdicate
Answer = Accepted | Killed | None
