"""make faults: breaks the real daemons in every way of the catalogue, under load, and prints what came of it.

As root. `--mesos real` for an Apache Mesos; `--only TEXT` for the faults whose names hold it; `--write` keeps the table in
docs/reliability.md; `--json` prints rows for a program; `--quick` breaks things for a shorter while, with shorter timeouts and without
users at the edge.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from tests.integration.faults.catalogue import FAULTS, Fault
from tests.integration.faults.cluster import AS_DELIVERED, HOST, QUICK, ROOT, Cluster, MesosKind, Pace, cluster
from tests.integration.faults.network import network
from tests.integration.faults.report import Row, table, write
from tests.integration.faults.stream import COMMON, STEADY, Stream, Succession, Watch, in_thread
from tests.support.load import LoadResult, load_in_thread
from tests.support.waiting import eventually

CONVERGE = 180.0
EDGE_RATE = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--mesos", choices=["embedded", "real"], action="append")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so what was started is ended
    kinds: list[MesosKind] = options.mesos or ["embedded", "real"]
    rows: list[Row] = []
    for kind in kinds:
        chosen = [fault for fault in FAULTS if kind in fault.of and _is_chosen(fault, options.only)]
        rows += measure(kind, chosen, QUICK if options.quick else AS_DELIVERED)
    if options.write:
        write(ROOT / "docs" / "reliability.md", rows)
    print(json.dumps([row.as_json() for row in rows]) if options.json else table(rows))
    sys.exit(0 if all(row.is_good for row in rows) else 1)


def _is_chosen(fault: Fault, only: list[str]) -> bool:
    return not only or any(text in fault.name for text in only)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measure(kind: MesosKind, faults: list[Fault], pace: Pace) -> list[Row]:
    """All faults, one after the other, on one cluster. The first that does not converge keeps the logs and ends it."""
    directory = Path(tempfile.mkdtemp(prefix="dromos-faults-"))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="m-", ignore_cleanup_errors=True) as work, network() as net:
        net.enter()
        with cluster(net, directory, Path(work), kind, pace, say) as one:
            prepare(one)
            for fault in faults:
                clean_up(one)
                say(f"{kind}: {fault.name}")
                row = try_out(one, fault)
                say(f"    {row}")
                rows.append(row)
                if row.converged is None:
                    say(f"it did not converge; see {directory}")
                    return rows
    shutil.rmtree(directory, ignore_errors=True)
    return rows


def prepare(one: Cluster) -> None:
    for app_id, app in STEADY.items():

        def put(app_id: str = app_id, app: dict[str, object] = app) -> bool:
            leader = one.api(one.leader())
            return requests.put(f"{leader}/v2/apps{app_id}?force=true", json={**COMMON, **app}, timeout=30).ok

        eventually(put, timeout=120, interval=0.5)
    if one.pace.edge:
        eventually(lambda: requests.get(one.edge_url, headers={"Host": HOST}, timeout=10).ok, timeout=60, interval=0.2)


def settle(one: Cluster, wanted: dict[str, int], seconds: float) -> None:
    eventually(lambda: one.is_converged(wanted), timeout=seconds, interval=0.25, what=f"converges to {wanted}")


def try_out(one: Cluster, fault: Fault) -> Row:
    steady = {app_id: app["instances"] for app_id, app in STEADY.items()}
    own = frozenset(task for task, app_id in eventually(one.mesos_tasks, 60).items() if app_id in STEADY)
    stream, watch, succession = Stream(one), Watch(one, own), Succession(one, one.leader())
    with users(one) as load, in_thread(watch):
        with in_thread(stream), in_thread(succession):
            time.sleep(one.pace.quiet)
            eventually(lambda: len(stream.acknowledged) > 1, timeout=60, what="the first writes are acknowledged")
            broken_at = time.monotonic()
            mend = fault.inject(one)
            time.sleep(fault.seconds * one.pace.faults)
            if fault.deposes:
                with contextlib.suppress(AssertionError):  # the row tells
                    eventually(lambda: succession.since, timeout=60)
            mended_at = time.monotonic()
            mend()
            one.restart_what_is_dead()
            _wait_for_writes(stream, mended_at)
        converged = _converge(stream, steady, mended_at)
        lost = stream.lost() if converged is not None else []
        killed = watch.killed() if converged is not None else set()
    for at, what in load.failures[:3] if load else ():
        say(f"    a request at the edge failed, {at - one.pace.quiet:.1f} s after the fault: {what}")
    answered = [answered for sent, answered in stream.acknowledged if sent >= broken_at]
    return Row(
        mesos=one.mesos_kind,
        fault=fault.name,
        leader=succession.since - broken_at if succession.since else None,
        write=min(answered) - broken_at if answered else None,
        converged=converged,
        acknowledged=len(stream.acknowledged),
        lost=lost,
        killed=sorted(killed),
        doubles=dict(watch.doubles),
        requests=load.requests if load else 0,
        failed=load.failed if load else 0,
    )


@contextlib.contextmanager
def users(one: Cluster) -> Iterator[LoadResult | None]:
    """Of the edge, where there is one."""
    if not one.pace.edge:
        yield None
        return
    with load_in_thread(one.edge_url, rate=EDGE_RATE, connections=4, headers={"Host": HOST}) as load:
        yield load


def _wait_for_writes(stream: Stream, mended_at: float) -> None:
    """The stream goes on for a while after everything is mended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and sum(sent >= mended_at for sent, _ in stream.acknowledged) < 5:
        time.sleep(0.2)


def _converge(stream: Stream, steady: dict[str, int], mended_at: float) -> float | None:
    """Seconds after the mending until every app is as it is to be; None: not in time."""
    one = stream.cluster

    def is_converged() -> bool:
        declared = {app["id"]: app["instances"] for app in one.get("/v2/apps")["apps"]}
        return one.is_converged({**declared, **steady})

    try:
        eventually(is_converged, timeout=CONVERGE, interval=0.25)
    except AssertionError as error:
        say(str(error))
        return None
    return time.monotonic() - mended_at


def clean_up(one: Cluster) -> None:
    """Nothing is left of the fault before."""
    for app in one.get("/v2/apps")["apps"]:
        if app["id"] not in STEADY:

            def delete(app_id: str = app["id"]) -> bool:
                url = f"{one.api(one.leader())}/v2/apps{app_id}?force=true"
                return requests.delete(url, timeout=30).status_code in (200, 404)

            eventually(delete, timeout=60, interval=0.3)
    settle(one, {app_id: app["instances"] for app_id, app in STEADY.items()}, CONVERGE)


if __name__ == "__main__":
    main()
