"""Fixtures of the edge's tests; each is defined, and described, in `tests/support`."""

from tests.support.rig import edge as edge
from tests.support.rig import rigs as rigs
