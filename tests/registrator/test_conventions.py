"""SERVICE_* and marathon-consul's labels: who wins, and what it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrator.conventions import app_name, attributes, consul_name, split_tags, tag_labels


@pytest.mark.parametrize(
    ("env", "labels", "found"),
    [
        ({"SERVICE_NAME": "a"}, {}, {"name": "a"}),
        ({"SERVICE_NAME": "a"}, {"SERVICE_NAME": "b"}, {"name": "b"}),
        ({"SERVICE_80_NAME": "a"}, {"SERVICE_NAME": "b"}, {"name": "a"}),
        ({"SERVICE_80_NAME": "a"}, {"SERVICE_80_NAME": "b"}, {"name": "b"}),
        ({"SERVICE_NAME": "a", "SERVICE_80_NAME": "b"}, {}, {"name": "b"}),
        ({"SERVICE_81_NAME": "a"}, {}, {}),
        ({"SERVICE_CHECK_HTTP": "/"}, {"SERVICE_80_CHECK_HTTP": "/x"}, {"check_http": "/x"}),
        ({"SERVICE_Region": "EU"}, {}, {"region": "EU"}),
        ({"SERVICE_": "x", "service_name": "x", "SERVICES_NAME": "x", "PATH": "/bin"}, {}, {}),
        ({"SERVICE_" + "9" * 5000 + "_NAME": "x"}, {}, {"9" * 5000 + "_name": "x"}),
        ({"SERVICE_٨٠_NAME": "x"}, {}, {"٨٠_name": "x"}),
    ],
)
def test_labels_win_over_env_and_the_port_s_own_over_both(
    env: dict[str, str], labels: dict[str, str], found: dict[str, str]
) -> None:
    assert attributes(env, labels, (80, 31000))[0] == found


def test_a_port_is_known_by_its_own_number_and_by_the_host_s() -> None:
    said, own = attributes({}, {"SERVICE_31000_NAME": "host", "SERVICE_80_TAGS": "own"}, (80, 31000))
    assert said == {"name": "host", "tags": "own"}
    assert own == {"name", "tags"}


@pytest.mark.parametrize(
    ("value", "tags"),
    [("", []), ("a", ["a"]), ("a,b", ["a", "b"]), (" a , ,b ", ["a", "b"]), (r"a\,b,c", ["a,b", "c"]), (",,", [])],
)
def test_tags_are_split_at_commas_that_are_not_escaped(value: str, tags: list[str]) -> None:
    assert split_tags(value) == tags


@given(st.lists(st.text(min_size=1).filter(lambda t: t == t.strip() and t and "\\" not in t), max_size=5))
def test_tags_come_back_as_they_were_escaped(tags: list[str]) -> None:
    assert split_tags(",".join(tag.replace(",", "\\,") for tag in tags)) == tags


def test_labels_become_tags_for_all_services_or_for_one() -> None:
    labels = {"blue": "tag", "green": "tag:web", "red": "tag:other", "x": "tagged", "y": "t"}
    assert list(tag_labels(labels, {"web"})) == ["blue", "green"]


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({}, None),
        ({"consul": ""}, ""),
        ({"consul": "true"}, ""),
        ({"consul": "True"}, ""),
        ({"consul": " web "}, "web"),
    ],
)
def test_the_label_consul_asks_for_registration_and_may_give_the_name(labels: dict[str, str], name: str | None) -> None:
    assert consul_name(labels) == name


def test_an_app_id_becomes_a_name() -> None:
    assert app_name("/shop/eu/web", ".") == "shop.eu.web"
    assert app_name("/shop/web", "-") == "shop-web"
