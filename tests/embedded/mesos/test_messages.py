"""The reading of calls: whatever is sent is understood or refused, and nothing else."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.mesos.errors import CallError
from embedded.mesos.messages import SCHEMA, decode, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
FIELDS = sorted({field.split(":")[0].strip() for text in SCHEMA.values() for field in text.split(",") if ":" in field})


@st.composite
def nearly_calls(draw: st.DrawFn) -> object:
    """Documents whose names are those of the protocol, and whose values are anything."""
    return draw(
        st.recursive(
            json_values | st.sampled_from(["LAUNCH", "SUBSCRIBE", "SCALAR", "aGVsbG8="]),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, min_size=1, max_size=4)
            ),
            max_leaves=12,
        )
    )


@pytest.mark.parametrize("message", ["Call", "MasterCall"])
@given(document=nearly_calls())
def test_any_document_is_understood_or_refused_in_one_line(message: str, document: object):
    try:
        parsed = parse(message, document)
    except CallError as refused:
        assert refused.status == 400
        assert str(refused).startswith("Failed to convert JSON into Call protobuf: ")
    else:
        assert parse(message, parsed) == parsed, "what was understood is understood again, and the same"
        orjson.dumps(parsed)


@given(st.binary(max_size=200))
def test_any_body_is_understood_or_refused(body: bytes):
    try:
        decode(body, "Call")
    except CallError as refused:
        assert refused.status == 400


def test_what_is_unknown_is_left_out_and_what_has_a_default_is_filled_in():
    task = {
        "name": "web",
        "task_id": {"value": "1", "more": 2},
        "agent_id": {"value": "S0"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}],
        "health_check": {"type": "TCP", "tcp": {"port": 80}},
        "strange": [],
        "command": {"value": "true", "uris": [{"value": "http://x/"}]},
    }

    assert parse("TaskInfo", task) == {
        "name": "web",
        "task_id": {"value": "1"},
        "agent_id": {"value": "S0"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}}],
        "health_check": {
            "type": "TCP",
            "tcp": {"port": 80, "protocol": "IPv4"},
            "delay_seconds": 15.0,
            "interval_seconds": 10.0,
            "timeout_seconds": 20.0,
            "consecutive_failures": 3,
            "grace_period_seconds": 10.0,
        },
        "command": {"value": "true", "shell": True, "uris": [{"value": "http://x/", "extract": True}]},
    }


def test_one_value_stands_for_a_list_of_it_and_text_for_numbers_and_booleans():
    info = {"user": "u", "name": "n", "roles": "web", "failover_timeout": "60", "checkpoint": "true"}

    assert parse("FrameworkInfo", info) == {
        "user": "u",
        "name": "n",
        "roles": ["web"],
        "failover_timeout": 60.0,
        "checkpoint": True,
    }
