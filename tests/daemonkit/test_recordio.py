"""RecordIO is read whole however it is cut, and never without a bound."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemonkit.recordio import Records, record

EVENTS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=6)


@given(EVENTS, st.lists(st.integers(1, 30)))
@settings(deadline=None)
def test_records_come_out_whole_however_they_are_cut(events: list[dict[str, Any]], cuts: list[int]) -> None:
    data, reading, found = b"".join(map(record, events)), Records(10_000), []
    for size in [*cuts, len(data) + 1]:
        found += [json.loads(one) for one in reading.feed(data[:size])]
        data = data[size:]
    assert found == events


@pytest.mark.parametrize("data", [b"x\n{}", b"-1\n", b"101\n", b"\n", b"1" * 30, b"<html>" * 10])
def test_what_is_no_record_or_a_larger_one_than_asked_for_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a record"):
        Records(100).feed(data)
