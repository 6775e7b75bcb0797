import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest

from autoscale.metrics.prometheus_text import samples

WANTED = frozenset({"hits_total"})


def test_only_what_is_asked_for_is_read():
    text = '# HELP hits_total x\nhits_total 3\nhits_total_more 4\nhits_total{a="1"} 5 1700000000\nother 6\n'
    assert list(samples(text, WANTED)) == [("hits_total", {}, 3.0), ("hits_total", {"a": "1"}, 5.0)]


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.floats(0, 1e12), max_size=5))
def test_what_the_reference_client_writes_is_read_again(values):
    registry = CollectorRegistry()
    counter = Counter("hits", 'Hits {"of"} all', ["who"], registry=registry)
    for who, value in values.items():
        counter.labels(who).inc(value)
    text = generate_latest(registry).decode()
    if any(sign in who for who in values for sign in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        return  # other line ends, which the format does not escape
    assert {labels["who"]: value for _, labels, value in samples(text, WANTED)} == values


@pytest.mark.parametrize("line", ['hits_total{a="1" 5', "hits_total many", "hits_total "])
def test_a_line_that_cannot_be_read_is_an_error(line):
    with pytest.raises(ValueError):
        list(samples(line, WANTED))


def test_what_is_not_known_yet_is_passed_over_and_what_is_infinite_is_refused():
    assert list(samples("hits_total NaN\nhits_total 3\n", WANTED)) == [("hits_total", {}, 3.0)]
    for value in ("+Inf", "-Inf", "1e999"):
        with pytest.raises(ValueError, match="infinite"):
            list(samples(f"hits_total {value}\n", WANTED))
