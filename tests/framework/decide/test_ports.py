"""Host ports: what a spec asks for and what it gets."""

from hypothesis import given
from hypothesis import strategies as st

from framework.decide.ports import ANY, PortDemand, PortPool, assign, port_demand
from framework.model.app import App
from framework.model.container import Container, DockerContainer
from framework.model.network import Network, PortDefinition, PortMapping


def test_host_networking_asks_for_any_port_unless_they_are_required() -> None:
    ports = (PortDefinition(8080), PortDefinition(0))
    assert port_demand(App("/a", port_definitions=ports)).wanted == (ANY, ANY)
    assert port_demand(App("/a", port_definitions=ports, require_ports=True)).wanted == (8080, ANY)


def test_mappings_ask_for_a_host_port_where_they_name_one() -> None:
    mappings = (PortMapping(80, host_port=0), PortMapping(81, host_port=31500), PortMapping(82, host_port=None))
    container = Container(docker=DockerContainer("nginx"), port_mappings=mappings)
    app = App("/a", container=container, networks=(Network("container/bridge"),))
    assert port_demand(app).wanted == (ANY, 31500)


def test_a_free_choice_goes_round_so_that_a_port_given_back_is_not_used_at_once() -> None:
    pool = PortPool([(100, 103)])
    assert assign(PortDemand((ANY,)), [pool], start=102) == [(0, 102)]
    assert assign(PortDemand((ANY, ANY)), [pool], start=103) == [(0, 103), (0, 100)]


def test_a_number_that_is_asked_for_is_not_taken_by_a_free_choice() -> None:
    assert assign(PortDemand((ANY, 100)), [PortPool([(100, 101)])], start=0) == [(0, 101), (0, 100)]


def test_what_cannot_be_met_takes_nothing() -> None:
    pool = PortPool([(100, 101)])
    assert assign(PortDemand((100, 999)), [pool], 0) is None
    assert assign(PortDemand((100, 100)), [pool], 0) is None
    assert assign(PortDemand((ANY, ANY, ANY)), [pool], 0) is None
    assert pool.size == 2


ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda r: (r[0], r[0] + r[1])), max_size=5)


@given(ranges, ranges, st.lists(st.sampled_from([ANY, ANY, 5, 10, 20, 30]), max_size=8), st.integers(0, 70))
def test_ports_are_distinct_free_and_as_asked_for(first, second, wanted, start) -> None:
    free = [{p for begin, end in pool for p in range(begin, end + 1)} for pool in (first, second)]
    free[1] -= free[0]
    pools = [PortPool(first), PortPool([(p, p) for p in free[1]])]
    got = assign(PortDemand(tuple(wanted)), pools, start)
    if got is None:
        exact = [p for p in wanted if p != ANY]
        possible = (
            len(set(exact)) == len(exact) and set(exact) <= free[0] | free[1] and len(wanted) <= len(free[0] | free[1])
        )
        assert not possible
        return
    assert len({port for _, port in got}) == len(wanted)
    assert all(port in free[index] for index, port in got)
    assert all(asked in (ANY, port) for asked, (_, port) in zip(wanted, got, strict=True))
    for index, pool in enumerate(pools):
        assert pool.size == len(free[index]) - sum(where == index for where, _ in got)
