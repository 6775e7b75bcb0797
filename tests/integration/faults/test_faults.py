"""Two of the faults of `make faults`, which tries them all and measures them at leisure: here only what must never happen is looked at."""

import json
import subprocess
import sys

import pytest

from tests.integration.faults.catalogue import FAULTS
from tests.integration.faults.cluster import ROOT
from tests.integration.faults.report import BEGIN, END, Row, table, write

CHOSEN = ("kill -9 of the leader", "leader cut off from both for 20 s")


@pytest.mark.slow
def test_a_dead_leader_and_one_that_is_cut_off_cost_no_write_and_no_task() -> None:
    only = [part for name in CHOSEN for part in ("--only", name)]
    command = [sys.executable, "-m", "tests.integration.faults", "--mesos", "embedded", "--quick", "--json", *only]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as faults:
        try:
            told, said = faults.communicate(timeout=550)
        finally:
            faults.terminate()  # where it is too late: it ends what it has started
    assert faults.returncode == 0, told + said
    rows = [Row(**row) for row in json.loads(told)]
    assert tuple(row.fault for row in rows) == CHOSEN
    for row in rows:
        assert (row.lost, row.killed, row.doubles) == ([], [], {}), row
        assert row.acknowledged > 5
        assert row.leader is not None, "another node leads"


def test_the_catalogue_names_each_fault_once() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert set(CHOSEN) <= {fault.name for fault in FAULTS}


def test_the_table_replaces_the_one_before_and_leaves_the_page_around_it(tmp_path) -> None:
    row = Row("real", "kill -9", 6.54, 6.61, 3.0, 20, [], ["web.1"], {"/web": 1}, 240, 2)
    assert not row.is_good
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(page, [row])
    write(page, [row])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count(table([row])) == 1
    assert "| kill -9 | real | 6.5 s | 6.6 s | 3.0 s | 20 | 0 | 1 | 1 | 2 of 240 |" in text
