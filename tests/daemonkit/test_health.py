from daemonkit.health import Health, Part


def test_each_change_is_told_once_and_being_well_from_the_start_is_none():
    told: list[tuple[str, bool, str]] = []

    def hear(name: str, part: Part) -> None:
        told.append((name, part.healthy, part.why))

    health = Health(required=("a",), told=hear)
    health.ok("a")
    health.failing("b", "away")
    health.failing("b", "still away")
    health.ok("b")
    health.ok("b")
    health.failing("a", "full")
    assert told == [("b", False, "away"), ("b", True, ""), ("a", False, "full")]
    assert not health.healthy
