"""From what is declared before and after to the steps of a deployment.

First removed specs stop, then new ones are created (with no instances), then each layer of dependencies is brought to its new
state: what others depend on comes first. Steps run one after another, the actions of a step side by side.
"""

from collections.abc import Callable, Mapping

from framework.model import path_id
from framework.model.deployment import SpecChange, Step, StepAction
from framework.model.group import Declared
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec


class DependencyCycle(ValueError):  # noqa: N818
    """`cycle`: ids of specs, each depending on the next."""

    def __init__(self, cycle: list[str]) -> None:
        self.cycle = cycle
        super().__init__("dependencies go round: " + " -> ".join(cycle))


def plan_deployment(
    changes: Mapping[str, SpecChange],
    after: Declared,
    *,
    is_outdated: Callable[[str], bool] = lambda spec_id: False,
) -> tuple[Step, ...]:
    """`is_outdated(id)`: whether instances of another configuration than the new one run, left behind by a deployment that was
    stopped half-way. Raises DependencyCycle."""
    stopped = [_action("stop", change.before) for change in changes.values() if change.after is None and change.before]
    started = [_action("start", change.after) for change in changes.values() if change.before is None and change.after]
    layers: dict[int, list[StepAction]] = {}
    depths = _Depths(after)
    for spec_id, change in changes.items():
        if change.after is not None:
            restart = change.before is not None and (
                is_outdated(spec_id) or change.before.last_config_change_at != change.after.last_config_change_at
            )
            action = _action("restart" if restart else "scale", change.after)
            layers.setdefault(depths.of(spec_id), []).append(action)
    steps = [stopped, started, *(layers[depth] for depth in sorted(layers))]
    return tuple(Step(tuple(sorted(actions, key=lambda a: a.spec_id))) for actions in steps if actions)


def _action(kind: str, spec: RunSpec) -> StepAction:
    return StepAction(kind, spec.id, isinstance(spec, Pod))  # type: ignore[arg-type]


class _Depths:
    """The longest way down from a spec along its dependencies, its enclosing groups' among them."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self._known: dict[str, int] = {}
        self._members: dict[str, list[str]] = {}

    def of(self, spec_id: str) -> int:
        # Iterative: a chain of dependencies may be longer than the stack of calls.
        path: list[str] = []
        todo: list[tuple[str, list[str] | None]] = [(spec_id, None)]
        on_path: set[str] = set()
        while todo:
            current, needs = todo.pop()
            if needs is not None:
                self._known[current] = 1 + max((self._known[need] for need in needs), default=-1)
                path.pop()
                on_path.discard(current)
                continue
            if current in self._known:
                continue
            if current in on_path:
                raise DependencyCycle([*path[path.index(current) :], current])
            needs = self._dependencies(current)
            path.append(current)
            on_path.add(current)
            todo.append((current, needs))
            for need in needs:
                if need in on_path:
                    raise DependencyCycle([*path[path.index(need) :], need])
                if need not in self._known:
                    todo.append((need, None))
        return self._known[spec_id]

    def _dependencies(self, spec_id: str) -> list[str]:
        declared = self._declared
        spec = declared.apps.get(spec_id) or declared.pods.get(spec_id)
        named = list(spec.dependencies) if spec else []
        for group_id in path_id.ancestors(spec_id):
            group = declared.groups.get(group_id)
            if group is not None:
                named += group.dependencies
        found: dict[str, None] = {}
        for name in named:
            if name in declared.apps or name in declared.pods:
                found[name] = None
            else:
                found.update(dict.fromkeys(self._below(name)))
        found.pop(spec_id, None)
        return list(found)

    def _below(self, group: str) -> list[str]:
        if group not in self._members:
            ids = (*self._declared.apps, *self._declared.pods)
            self._members[group] = [spec_id for spec_id in ids if path_id.is_below(spec_id, group)]
        return self._members[group]
