import pytest

from autoscale.errors import PolicyError
from autoscale.policy import Policy, from_labels


def labels(**values: str) -> dict[str, str]:
    return {f"DROMOS_AUTOSCALE_{name}": value for name, value in values.items()}


def test_an_app_without_a_target_is_not_scaled():
    assert from_labels({"HAPROXY_GROUP": "external", **labels(MIN="2")}) is None


def test_a_target_alone_has_good_defaults():
    assert from_labels(labels(TARGET="20")) == Policy(20, min=1, max=100, tolerance=0.1, down_after=300)


def test_all_can_be_set():
    given = labels(TARGET="0.5", MIN="0", MAX="7", TOLERANCE="0.2", DOWN_AFTER="90s")
    assert from_labels(given) == Policy(0.5, min=0, max=7, tolerance=0.2, down_after=90)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (labels(TARGET="many"), "DROMOS_AUTOSCALE_TARGET='many' is not a number"),
        (labels(TARGET="0"), "DROMOS_AUTOSCALE_TARGET='0' is to be above 0"),
        (labels(TARGET="nan"), "DROMOS_AUTOSCALE_TARGET='nan' is to be at least 0"),
        (labels(TARGET="1", MIN="-1"), "DROMOS_AUTOSCALE_MIN='-1' is to be at least 0"),
        (labels(TARGET="1", MIN="5", MAX="3"), "DROMOS_AUTOSCALE_MIN=5 is above DROMOS_AUTOSCALE_MAX=3"),
        (labels(TARGET="1", MAX="2.5"), "DROMOS_AUTOSCALE_MAX='2.5' is not a number"),
        (labels(TARGET="1", DOWN_AFTER="later"), "DROMOS_AUTOSCALE_DOWN_AFTER='later' is not a number"),
    ],
)
def test_what_cannot_be_is_named(given, message):
    with pytest.raises(PolicyError) as caught:
        from_labels(given)
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(PolicyError) as caught:
        from_labels(labels(TARGET="x", MIN="y"))
    assert "TARGET='x'" in str(caught.value) and "MIN='y'" in str(caught.value)
