"""The line of those who may lead, and whose turn it is (pure).

<path>/candidates/<mark>-<number>    one ephemeral znode for each node, numbered by ZooKeeper as they come; its data is host:port
<path>/candidates/restore-           somebody replaces the state: before all others, no node, and so nobody leads while it is there
"""

from collections.abc import Iterable
from dataclasses import dataclass

LOOK_AGAIN = 5.0  # seconds; a watch that was missed costs no more
MAKE_WAY = (
    1.0  # seconds that a leader whom the store has refused leaves the store to others, unless another one leads before
)
RESTORE = "restore-"


def first_of(names: Iterable[str]) -> str:
    return min(names, key=lambda name: name.rpartition("-")[2])


@dataclass(frozen=True, slots=True)
class Verdict:
    """`follows`: the leader's address; None: this node leads, or nobody does. `look_in`: seconds until the next look, without news."""

    leads: bool
    follows: str | None
    look_in: float = LOOK_AGAIN


def verdict(first: str, address: str | None, *, mark: str, leads: bool, makes_way: float) -> Verdict:
    """For the node with this mark. `first` of the line and its address; `leads`: whether this node does already; `makes_way`: for so
    many seconds it does not begin to."""
    if not first.startswith(f"{mark}-"):
        return Verdict(False, address or None)
    if leads or makes_way <= 0:
        return Verdict(True, None)
    return Verdict(False, None, min(LOOK_AGAIN, makes_way))
