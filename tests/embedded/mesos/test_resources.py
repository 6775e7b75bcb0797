"""Resources: sums, differences, what covers what, and their spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.mesos.errors import ResourcesError
from embedded.mesos.resources import Kind, Resources, parse_attributes, parse_resources, summary

names = st.sampled_from(["cpus", "mem", "disk"])
amounts = st.integers(min_value=1, max_value=10_000)
roles = st.sampled_from(["*", "web", "web/blue"])


@st.composite
def port_ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    ports = sorted(draw(st.sets(st.integers(1, 200), min_size=1, max_size=20)))
    merged: list[tuple[int, int]] = []
    for port in ports:
        if merged and merged[-1][1] + 1 == port:
            merged[-1] = (merged[-1][0], port)
        else:
            merged.append((port, port))
    return tuple(merged)


@st.composite
def resources(draw: st.DrawFn) -> Resources:
    scalars = draw(st.dictionaries(st.tuples(names, roles), amounts, max_size=5))
    found: dict[Kind, object] = {}
    for (name, role), amount in scalars.items():
        reserved = b'{"reservations":[{"role":"%s","type":"STATIC"}]}' % role.encode() if role != "*" else b""
        found[Kind(name, role, reserved)] = amount
    if draw(st.booleans()):
        found[Kind("ports")] = draw(port_ranges())
    return Resources(found)  # type: ignore[arg-type]


def ports_of(held: Resources) -> set[int]:
    spans = [amount for kind, amount in held if kind.name == "ports"]
    return {port for ranges in spans for begin, end in ranges for port in range(begin, end + 1)}  # type: ignore[union-attr]


@given(resources(), resources())
def test_a_sum_holds_both_parts_in_either_order(a: Resources, b: Resources):
    assert a + b == b + a
    assert (a + b).contains(a)
    assert (a + b).contains(b)
    assert ports_of(a + b) == ports_of(a) | ports_of(b)


@given(resources(), resources(), resources())
def test_scalars_add_up_whichever_way_they_are_grouped(a: Resources, b: Resources, c: Resources):
    for name in ("cpus", "mem", "disk"):
        assert ((a + b) + c).thousandths(name) == (a + (b + c)).thousandths(name)


@given(resources(), resources())
def test_what_is_taken_out_and_put_back_is_what_was_there(a: Resources, b: Resources):
    both = a + b
    assert (both - b) + b == both
    assert not (a - a)


@given(resources(), resources())
def test_a_difference_is_part_of_what_it_was_taken_from(a: Resources, b: Resources):
    assert a.contains(a - b)
    assert ports_of(a - b) == ports_of(a) - ports_of(b)


@given(resources())
def test_nothing_that_is_used_up_is_kept(a: Resources):
    assert all(amount for _, amount in a - a)
    assert list(a - a) == []


@given(resources(), st.booleans())
def test_json_and_back_is_the_same(a: Resources, refined: bool):
    assert Resources.from_json(a.to_json(refined=refined, allocated_to="web")) == a


@given(resources())
def test_a_role_is_offered_the_unreserved_and_what_is_reserved_for_it_or_above(a: Resources):
    for_blue = {kind.role for kind, _ in a.available_to("web/blue")}
    for_web = {kind.role for kind, _ in a.available_to("web")}
    assert for_blue <= {"*", "web", "web/blue"}
    assert for_web <= {"*", "web"}
    assert a.available_to("web/blue") == a, "every role of these is above web/blue, or it"


def test_tenths_add_up_to_one():
    tenth = parse_resources("cpus:0.1")
    total = Resources()
    for _ in range(10):
        total += tenth

    assert total == parse_resources("cpus:1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cpus:4;mem:4096", "cpus:4; mem:4096"),
        (" cpus : 0.5 ; ports:[31000-31005, 8080-8080] ", "cpus:0.5; ports:[8080-8080, 31000-31005]"),
        ("ports:[1-5,6-9]", "ports:[1-9]"),
        ("zones:{a,b}", "zones:{a, b}"),
        ("cpus(web):2;cpus:1", "cpus(reservations: [(web)]):2; cpus:1"),
        ('[{"name":"cpus","type":"SCALAR","scalar":{"value":3}}]', "cpus:3"),
    ],
)
def test_strings_that_mesos_reads_are_read(text: str, shown: str):
    assert str(parse_resources(text)) == shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cpus", "'cpus' is not NAME:VALUE"),
        ("cpus:many", "'many' is not a number, a [range] or a {set}"),
        ("cpus:-1", "'-1' is not a number"),
        ("cpus:nan", "'nan' is not a number"),
        ("ports:[5-1]", "begin > end"),
        ("ports:[1-5,3-9]", "overlapping"),
        ("ports:[a-b]", "is not a list of ranges"),
        ("", "holds none"),
        ("cpus:0", "holds none"),
        ('[{"name":"cpus"}]', "Missing required fields: type"),
        ("[", "the JSON list cannot be read"),
    ],
)
def test_other_strings_are_refused_in_one_line_that_shows_the_form(text: str, told: str):
    with pytest.raises(ResourcesError) as refused:
        parse_resources(text)

    assert told in str(refused.value)
    assert "like" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_attributes_are_text_numbers_and_ranges():
    assert parse_attributes("rack:a1;disks:4;zones:[1-2];path:/a:b") == [
        {"name": "rack", "type": "TEXT", "text": {"value": "a1"}},
        {"name": "disks", "type": "SCALAR", "scalar": {"value": 4.0}},
        {"name": "zones", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}},
        {"name": "path", "type": "TEXT", "text": {"value": "/a:b"}},
    ]


@pytest.mark.parametrize("text", ["rack", "rack:", ":a"])
def test_attributes_without_name_or_value_are_refused(text: str):
    with pytest.raises(ResourcesError, match="write them like rack:a1"):
        parse_attributes(text)


def test_the_short_form_merges_reservations_and_writes_ranges():
    held = parse_resources("cpus:1;cpus(web):2;ports:[1-2];ports(web):[5-6]")

    assert summary(held) == {"cpus": 3.0, "mem": 0.0, "disk": 0.0, "gpus": 0.0, "ports": "[1-2, 5-6]"}
