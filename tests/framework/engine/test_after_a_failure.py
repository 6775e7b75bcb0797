"""What a leader writes, and does not write, after a store that failed and after a master that was asked about everything."""

from framework.engine.events import Subscribed
from tests.support.engine import Desk, app


def test_reconciliation_that_tells_nothing_new_is_not_written() -> None:
    desk = Desk()
    desk.declare(app(instances=2))
    launches = desk.offers()
    for launch in launches:
        desk.status(launch.instance, "TASK_RUNNING", message="up")
    before = dict(desk.ledger.instances)
    for launch in launches:
        task = launch.instance.tasks[0]
        desk.status(launch.instance, "TASK_RUNNING", reason="REASON_RECONCILIATION", message="latest state")
        assert desk.ledger.instance_of_task(task.id) is before[launch.instance.id]


def test_reconciliation_that_tells_of_health_is_heard() -> None:
    desk = Desk()
    desk.declare(app())
    [launch] = desk.offers()
    desk.status(launch.instance, "TASK_RUNNING")
    desk.status(launch.instance, "TASK_RUNNING", reason="REASON_RECONCILIATION", healthy=False)
    assert desk.ledger.instances[launch.instance.id].tasks[0].healthy is False


def test_the_id_that_came_while_the_store_failed_is_written_with_the_next_commit() -> None:
    desk = Desk(subscribed=False)
    desk.tell(Subscribed("framework-1", "master:5050"), commit=False)
    desk.state.undo(desk.now)
    assert desk.ledger.framework_id == "framework-1"
    assert any(write.table == "framework" and b"framework-1" in (write.value or b"") for write in desk.ledger.pending())
