"""`make churn`: thirty minutes of simulated churn over 200 services × 5 instances, in about four minutes; ends with 1 if it fails."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.churn.churn import churn

MOST = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--ticks", type=int, default=180)
    parser.add_argument("--seconds-a-tick", type=float, default=1.2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="churn-") as folder:
        result = churn(
            Path(folder),
            services=given.services,
            ticks=given.ticks,
            seconds_a_tick=given.seconds_a_tick,
            seed=given.seed,
        )
    print(result)
    well = result.writes <= MOST * result.fewest_writes and result.reloads <= MOST * result.fewest_reloads
    sys.exit(0 if well and not result.emptied else 1)


if __name__ == "__main__":
    main()
