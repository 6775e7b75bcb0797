"""Which of several agents that would do is taken: a score, the lowest wins."""

from typing import Literal, get_args

Strategy = Literal["binpack", "spread"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
LABEL = "DROMOS_PLACEMENT"

Score = tuple[int, int, int]


def score(strategy: Strategy, *, peers: int, cpus_left: int, mem_left: int) -> Score:
    """`peers`: instances of the same spec that are on the agent already; what is left is before this launch, in thousandths.

    spread: fewest peers, then the emptiest agent, so that the loss of one agent takes little of each app.
    binpack: the fullest agent that still has room, so that whole agents stay free for what is large.
    """
    if strategy == "binpack":
        return (cpus_left, mem_left, peers)
    return (peers, -cpus_left, -mem_left)
