"""What the registrator's tests share: the daemon itself, run against real neighbours."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.consul import ConsulServer
from tests.support.mesos import Mesos
from tests.support.registrator import Registrator, running_registrator


@pytest.fixture
def registrator(tmp_path: Path) -> Iterator[Callable[..., Registrator]]:
    """A factory: `registrator(sources=["mesos"], mesos=[url], consul=url)`; all of them end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_registrator(tmp_path, **settings))


@dataclass(frozen=True)
class Neighbours:
    mesos: Mesos
    consul: ConsulServer


@pytest.fixture(params=["embedded", "real"])
def neighbours(request: pytest.FixtureRequest) -> Neighbours:
    """The embedded Mesos with the embedded Consul, and the real ones."""
    start_mesos = request.getfixturevalue(f"{request.param}_mesos")
    return Neighbours(start_mesos(), request.getfixturevalue(f"{request.param}_consul"))
