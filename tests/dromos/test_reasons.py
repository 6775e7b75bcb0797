from datetime import UTC, datetime

import pytest

from dromos.reasons import why_waiting
from framework.decide.match_offers import REASONS

APP = {
    "id": "/a",
    "cpus": 2.5,
    "mem": 64,
    "disk": 10,
    "gpus": 1,
    "requirePorts": True,
    "portDefinitions": [{"port": 80}],
}


def item(reason: str, declined: int = 2, processed: int = 3, **more: object) -> dict[str, object]:
    rejects = [{"reason": reason, "declined": declined, "processed": processed}]
    return {
        "app": APP,
        "processedOffersSummary": {"processedOffersCount": 3, "rejectSummaryLastOffers": rejects},
        **more,
    }


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_framework_has_its_words(reason: str):
    said = why_waiting(item(reason))
    assert said.startswith("2 of 3 offers refused: ") and said.endswith(f"({reason})")


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (item("InsufficientCpus"), "2 of 3 offers refused: with too few CPUs, it needs 2.5 (InsufficientCpus)"),
        (
            item("InsufficientMemory"),
            "2 of 3 offers refused: with too little memory, it needs 64 MiB (InsufficientMemory)",
        ),
        (item("InsufficientPorts"), "2 of 3 offers refused: without the ports that it needs, 80 (InsufficientPorts)"),
        (item("ReasonOfAnotherMarathon"), "2 of 3 offers refused (ReasonOfAnotherMarathon)"),
        (item("InsufficientCpus", delay={"timeLeftSeconds": 7}), "backs off after failures, next try in 7 s"),
        ({"app": APP}, "no offer has come: no agent is there, or others hold all that the agents have"),
        ({"app": APP, "since": "2026-11-21T11:12:20.183Z"}, "waits for an offer"),
        (
            {"app": APP, "since": "2026-11-21T11:12:05.183Z"},
            "no offer has come: no agent is there, or others hold all that the agents have",
        ),
        ({"app": APP, "processedOffersSummary": {"processedOffersCount": 2}}, "its turn has not come yet"),
        (
            {**item("InsufficientMemory"), "app": None, "pod": {"containers": [{"resources": {"mem": 32}}] * 2}},
            "2 of 3 offers refused: with too little memory, it needs 64 MiB (InsufficientMemory)",
        ),
    ],
)
def test_why(waiting: dict[str, object], said: str):
    assert why_waiting(waiting, datetime(2026, 11, 21, 11, 12, 25, tzinfo=UTC)) == said
