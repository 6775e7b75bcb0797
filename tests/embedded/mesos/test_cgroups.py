"""Cgroups of both versions: found, limited, read and removed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from embedded.mesos.cgroups import Cgroup, Cgroups, Limits, detect, find_mounts, weight
from tests.support.cgroups import cgroups_named
from tests.support.processes import Process, running
from tests.support.waiting import eventually

MB = 1024 * 1024
V1 = """\
25 1 254:0 / / rw - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_mounts_are_found_by_controller():
    assert find_mounts(V1) == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory"),
        "": Path("/sys/fs/cgroup/unified"),
    }
    assert find_mounts(V2) == {"": Path("/sys/fs/cgroup")}
    assert find_mounts("nonsense\n\n") == {}


def test_a_machine_without_cgroups_says_so():
    assert detect("dromos", "25 1 254:0 / / rw - ext4 /dev/vda rw\n") == (None, "no cgroups are mounted")


def test_cgroups_that_cannot_be_made_say_why(tmp_path):
    (tmp_path / "file").write_text("")
    found, why = detect("dromos", f"30 25 0:26 / {tmp_path}/file rw - cgroup2 cgroup2 rw\n")
    assert found is None
    assert "Not a directory" in why


@pytest.fixture
def cgroups():
    found, why = detect(f"dromos-test-{os.getpid()}")
    assert found, f"these tests need cgroups: {why}"
    yield found
    for agent_id in ("agent", "a", "b", "c", "d"):
        for container_id in found.containers(agent_id):
            group = found.group(agent_id, container_id)
            group.kill()
            group.remove(timeout=30)


def joins(group: Cgroup) -> str:
    """What a shell does to become a process of the group."""
    return "".join(f"echo $$ > {directory}/cgroup.procs; " for directory in group.directories)


def until_joined(group: Cgroup, process: Process) -> None:
    """In every hierarchy."""
    groups = [directory / "cgroup.procs" for directory in group.directories]
    eventually(lambda: all(procs.read_text().split() == [str(process.pid)] for procs in groups))


def test_on_this_machine_a_process_is_limited_read_ended_and_nothing_is_left(cgroups, tmp_path):
    group = cgroups.group("agent", "container")
    group.limit(Limits(cpus=0.5, memory=64 * MB, cpu_quota=0.5))
    with running(["sh", "-c", joins(group) + "while true; do :; done"], log=tmp_path / "log") as process:
        until_joined(group, process)
        used = eventually(lambda: group.statistics() if group.statistics().get("cpus_user_time_secs", 0) > 0 else None)
        assert used["mem_limit_bytes"] == 64 * MB
        assert used["processes"] == 1
        assert cgroups.of_process(process.pid).by_controller == group.by_controller
        assert cgroups.containers("agent") == ["container"]
        (group.directories[0] / "below").mkdir()
        assert group.kill(timeout=30)
        process.wait()
    group.remove(timeout=30)
    assert not group.exists()
    assert cgroups_named(cgroups.root) == []


def test_groups_of_others_stay_when_one_is_removed(cgroups):
    one, other = cgroups.group("agent", "one"), cgroups.group("agent", "other")
    one.limit(Limits(cpus=1))
    other.limit(Limits(cpus=1))
    one.remove()
    assert other.exists()
    other.remove()
    assert not other.exists()


def test_a_group_whose_processes_end_meanwhile_is_removed_all_the_same(cgroups, tmp_path):
    group = cgroups.group("agent", "ending")
    group.limit(Limits(cpus=1))
    with running(["sh", "-c", joins(group) + "exec sleep 1000"], log=tmp_path / "log") as process:
        until_joined(group, process)
        with ThreadPoolExecutor(1) as threads:
            removing = threads.submit(group.remove, 60)
            assert group.exists() and not removing.done()
            process.kill()
            process.wait()
    assert cgroups_named(cgroups.root) == []


def test_a_group_that_cannot_be_removed_is_told_with_its_processes(cgroups, tmp_path):
    group = cgroups.group("agent", "busy")
    group.limit(Limits(cpus=1))
    with running(["sh", "-c", joins(group) + "exec sleep 1000"], log=tmp_path / "log") as process:
        until_joined(group, process)
        with capture_logs() as logged:
            group.remove(timeout=0.02)
        assert {line["path"] for line in logged} == {str(directory) for directory in group.directories}
        assert all(line["pids"] == [process.pid] for line in logged)
    group.remove(timeout=30)
    assert cgroups_named(cgroups.root) == []


@pytest.fixture
def version2(tmp_path):
    """The files of a version 2 hierarchy, for machines that have version 1: which value is written where."""
    cgroups = Cgroups(2, dict.fromkeys(("memory", "cpu", "pids", "cpuacct"), tmp_path))
    group = cgroups.group("agent", "container")
    group.directories[0].mkdir(parents=True)
    (group.directories[0] / "memory.swap.max").write_text("max")
    return tmp_path, group


def test_version_2_settings(version2):
    top, group = version2
    group.limit(Limits(cpus=1.0, memory=64 * MB, cpu_quota=1.5))
    [directory] = group.directories
    assert {
        name: (directory / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.weight", "cpu.max")
    } == {
        "memory.max": str(64 * MB),
        "memory.swap.max": "0",
        "cpu.weight": "39",
        "cpu.max": "150000 100000",
    }
    for above in (top, top / "dromos", top / "dromos" / "agent"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert not (directory / "cgroup.subtree_control").exists(), "a group with processes passes nothing on"


def test_version_2_statistics(version2):
    _, group = version2
    [directory] = group.directories
    files = {
        "cpu.stat": "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 5\nnr_throttled 1\nthrottled_usec 250000\n",
        "memory.current": "1048576\n",
        "memory.max": "max\n",
        "memory.stat": "anon 4096\nfile 8192\nfile_mapped 1024\n",
        "cgroup.procs": "12\n13\n",
        "pids.current": "7\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    assert group.statistics() == {
        "cpus_user_time_secs": 2.0,
        "cpus_system_time_secs": 1.0,
        "cpus_nr_periods": 5,
        "cpus_nr_throttled": 1,
        "cpus_throttled_time_secs": 0.25,
        "mem_total_bytes": 1048576,
        "mem_rss_bytes": 4096,
        "mem_anon_bytes": 4096,
        "mem_cache_bytes": 8192,
        "mem_file_bytes": 8192,
        "mem_mapped_file_bytes": 1024,
        "processes": 2,
        "threads": 7,
    }


def test_the_group_of_a_process_is_read_from_proc(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text("4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n0::/docker/x\n")
    mounts = {"memory": Path("/m"), "cpu": Path("/c")}
    assert Cgroups(1, mounts).of_process(7, tmp_path).by_controller == {
        "memory": Path("/m/docker/x"),
        "cpu": Path("/c/docker/x"),
    }
    (tmp_path / "7" / "cgroup").write_text("0::/system.slice/docker-x.scope\n")
    two = Cgroups(2, {"memory": Path("/g"), "cpu": Path("/g")})
    assert two.of_process(7, tmp_path).directories == [Path("/g/system.slice/docker-x.scope")]
    assert two.of_process(8, tmp_path).statistics() == {}


@pytest.mark.parametrize(("shares", "expected"), [(2, 1), (1024, 39), (262144, 10000), (1, 1), (10**9, 10000)])
def test_weights(shares, expected):
    assert weight(shares) == expected


def test_a_group_that_is_gone_has_no_statistics_and_can_be_removed_again(tmp_path):
    group = Cgroup(1, {"memory": tmp_path / "a" / "b" / "none"})
    assert group.statistics() == {}
    group.remove()


def test_groups_can_be_made_while_others_remove_theirs(cgroups):
    """The last of a machine's groups takes the ones above along."""

    def come_and_go(name):
        for _ in range(100):
            group = cgroups.group(name, "container")
            group.limit(Limits(cpus=1))
            assert group.exists()
            group.remove()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(come_and_go, ["a", "b", "c", "d"]))
    assert cgroups_named(cgroups.root) == []
