"""Fixtures that any test may ask for; each is defined, and described, in `tests/support`."""

import gc
import os
from collections.abc import Generator

import hypothesis
import pytest
from xdist.remote import Producer

from tests.support.consul import any_consul as any_consul
from tests.support.consul import embedded_consul as embedded_consul
from tests.support.consul import own_any_consul as own_any_consul
from tests.support.consul import own_embedded_consul as own_embedded_consul
from tests.support.consul import own_real_consul as own_real_consul
from tests.support.consul import real_consul as real_consul
from tests.support.consul import shared_embedded_consul as shared_embedded_consul
from tests.support.consul import shared_real_consul as shared_real_consul
from tests.support.docker import busybox as busybox
from tests.support.docker import dockerd as dockerd
from tests.support.mesos import embedded_mesos as embedded_mesos
from tests.support.mesos import real_mesos as real_mesos
from tests.support.scheduling import GroupsBesideTheOthers
from tests.support.zookeeper import ensemble as ensemble
from tests.support.zookeeper import shared_ensemble as shared_ensemble

gc.disable()  # until all tests are collected

# How long an example takes says more of the machine than of the code. `make test` tries the same ones every time, `make explore` others.
hypothesis.settings.register_profile(
    "dromos",
    deadline=None,
    derandomize="DROMOS_EXPLORE" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("dromos")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The few tests with a Vault have one together."""
    for item in items:
        if "vault" in getattr(item, "fixturenames", ()) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("vault"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of collected tests stay to the end: the garbage collector need not look at them again and again."""
    gc.freeze()
    gc.enable()
    if session.config.getoption("loadgroup", False):
        apart = [i.nodeid for i in session.items if i.get_closest_marker("xdist_group") and "@" not in i.nodeid]
        assert not apart, f"pytest-xdist does not keep groups together with this pytest: {apart[:3]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """While the source of a failure is parsed no garbage is collected. What a finalizer logs of an exception is parsed as well, and where
    one parsing interrupts another, CPython 3.11 gives up both (SystemError: AST constructor recursion depth mismatch), and pytest the
    whole run."""
    if call.excinfo is None:
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupsBesideTheOthers | None:
    return GroupsBesideTheOthers(config, log) if config.option.dist == "loadgroup" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why a test that was run a second time failed the first time: a bug to mend."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first run of {report.nodeid}", "_")
        terminalreporter.write_line(report.longreprtext)
