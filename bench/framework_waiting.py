"""What apps that fit nowhere cost while offers come: CPU time of the engine's state alone, no loop, no store, no Mesos.

python -m bench.framework_waiting [--apps 10000]
"""

import argparse
import gc
import time

from rich.console import Console
from rich.table import Table

from framework.engine.actions import Decline
from framework.engine.events import BatchEnded, Event, OffersReceived, TimePassed
from framework.model.app import App
from tests.support.engine import Desk

TOO_MANY_CPUS = 5000.0


def apps(count: int, *, alike: bool) -> list[App]:
    return [App(f"/app-{i}", cmd="x", cpus=TOO_MANY_CPUS + (0 if alike else i)) for i in range(count)]


def handle(desk: Desk, *events: Event) -> tuple[float, int]:
    """Seconds of CPU time of one batch, and the offers that it declined."""
    started = time.process_time()
    actions = [action for event in (*events, BatchEnded()) for action in desk.state.handle(event, desk.now)]
    spent = time.process_time() - started
    list(desk.ledger.pending())
    desk.ledger.committed()
    return spent, sum(len(action.offer_ids) for action in actions if isinstance(action, Decline))


def batches(desk: Desk, *events: Event) -> tuple[list[float], int]:
    """Of these events, and of all batches that follow by themselves."""
    spent, declined = handle(desk, *events)
    found = [spent]
    while (deadline := desk.state.next_deadline()) is not None and deadline <= desk.now:
        spent, more = handle(desk, TimePassed())
        found.append(spent)
        declined += more
    return found, declined


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--apps", type=int, default=10_000)
    options = parser.parse_args()
    gc.disable()  # the daemon collects while it is idle
    table = Table(title=f"{options.apps} apps that fit nowhere, milliseconds of CPU time")
    for column in ("apps", "offers", "round", "longest batch", "batches", "all"):
        table.add_column(column, justify="right")
    for alike in (True, False):
        for offers in (3, 50):
            desk = Desk()
            desk.declare(*apps(options.apps, alike=alike))
            batches(desk)
            for turn in ("first", "second"):
                desk.now += 10
                found, declined = batches(desk, OffersReceived(tuple(desk.offer(i) for i in range(offers))))
                assert declined == offers, f"{declined} of {offers} offers went back"
                table.add_row(
                    "alike" if alike else "all different",
                    str(offers),
                    turn,
                    f"{1000 * max(found):.1f}",
                    str(len(found)),
                    f"{1000 * sum(found):.0f}",
                )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
