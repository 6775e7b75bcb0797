"""Which worker runs which tests, under `pytest -n N --dist loadgroup`.

A group of tests shares a platform and mostly waits for it to come to an end; all other tests mostly compute. So groups are spread over the
whole run: no more than some of the workers have one at a time, and the others keep the processors busy meanwhile.
"""

from xdist.scheduler.loadgroup import LoadGroupScheduling
from xdist.workermanage import WorkerController


class GroupsBesideTheOthers(LoadGroupScheduling):
    """As `LoadGroupScheduling`, which begins with the groups, but with one of them on three of five workers at most."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self._workers_with_a_group(but=node) >= most_groups(len(self.nodes)):
            other = next((scope for scope in self.workqueue if not is_group(scope)), None)
            if other is not None:
                self.workqueue.move_to_end(other, last=False)
        super()._assign_work_unit(node)

    def _workers_with_a_group(self, but: WorkerController) -> int:
        return sum(has_a_group(assigned) for node, assigned in self.assigned_work.items() if node is not but)


def has_a_group(assigned: dict[str, dict[str, bool]]) -> bool:
    """Of what a worker was given, in order of its execution: scope, and which of its tests are done."""
    for scope, tests in reversed(assigned.items()):
        if all(tests.values()):
            break
        if is_group(scope):
            return True
    return False


def is_group(scope: str) -> bool:
    """A scope is the name of a group, or the id of a test without one."""
    return "::" not in scope


def most_groups(workers: int) -> int:
    return max(1, workers * 3 // 5)
