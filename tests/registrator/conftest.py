"""What the registrator's tests share: the daemon itself, run against real neighbours."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.registrator import Registrator, running_registrator


@pytest.fixture
def registrator(tmp_path: Path) -> Iterator[Callable[..., Registrator]]:
    """A factory: `registrator(sources=["mesos"], mesos=[url], consul=url)`; all of them end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_registrator(tmp_path, **settings))
