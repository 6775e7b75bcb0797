"""Schedules from the command line.

make simulate                 a thousand, from a first seed that differs each time
make simulate RUNS=100000     many, on all processors, with progress; FIRST=… names the first seed
make simulate SEED=4711       one, with its story
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.simulation.run import quiet, simulate
from tests.simulation.wide import FIRST_DOUBTED, schedule_of
from tests.simulation.world import Violation

BLOCK = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, with its story")
    parser.add_argument("--runs", type=int, default=1000, help="how many schedules")
    parser.add_argument("--first", type=int, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        sys.exit(replay(options.seed))
    first = options.first if options.first is not None else FIRST_DOUBTED + int(time.time()) * 1000
    sys.exit(many(first, options.runs, options.jobs))


def replay(seed: int) -> int:
    schedule = schedule_of(seed)
    problem = None
    with quiet():
        try:
            schedule.run()
        except Violation as violation:
            problem = str(violation).splitlines()[0]
    print("\n".join(schedule.world.log))
    print(problem or f"seed {seed}: all invariants hold")
    return 1 if problem else 0


def many(first: int, runs: int, jobs: int) -> int:
    """Prints progress, and each seed that fails as it is found."""
    started, done, failed = time.monotonic(), 0, []
    blocks = [range(start, min(start + BLOCK, first + runs)) for start in range(first, first + runs, BLOCK)]
    with multiprocessing.Pool(jobs, maxtasksperchild=25) as pool:
        for count, failures in pool.imap_unordered(_block, blocks):
            done += count
            for seed, what in failures:
                failed.append(seed)
                print(f"\r{what}\n    make simulate SEED={seed}", flush=True)
            rate = done / (time.monotonic() - started)
            left = (runs - done) / rate
            print(
                f"\r{done}/{runs} schedules, {rate:.0f}/s, {left:.0f} s left, {len(failed)} failed ", end="", flush=True
            )
    print(f"\n{10 * done / 60:.0f} simulated hours in {time.monotonic() - started:.0f} s, from seed {first}")
    if failed:
        print(f"failed: {' '.join(map(str, sorted(failed)))}")
    return 1 if failed else 0


def _block(seeds: range) -> tuple[int, list[tuple[int, str]]]:
    return len(seeds), list(_failures(seeds))


def _failures(seeds: range) -> Iterator[tuple[int, str]]:
    for seed in seeds:
        try:
            simulate(seed, schedule_of)
        except Violation as violation:
            yield seed, str(violation).splitlines()[0]
        except Exception as error:
            yield seed, f"seed {seed}: {error!r}"


if __name__ == "__main__":
    main()
