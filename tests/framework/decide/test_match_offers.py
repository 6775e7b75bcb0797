"""Offers and waiting instances: rows for every reason, and the laws of a round."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.decide.match_offers import (
    CONSTRAINT,
    CPUS,
    DISK,
    GPUS,
    MAINTENANCE,
    MEMORY,
    PORTS,
    REASONS,
    RESERVATION,
    ROLE,
    SCARCE,
    Claim,
    OpenOffer,
    Requirement,
    Rules,
    Want,
    match_offers,
    reasons,
)
from framework.model.app import App
from framework.model.constraint import Constraint
from framework.model.instance import Agent, Instance
from framework.model.network import PortDefinition
from framework.model.offer import Offer, Pool

APP = App("/app", cpus=1, mem=100)


def offer(name: str = "o1", *, role: str = "*", agent: Agent | None = None, pools: tuple[Pool, ...] = (), **resources):
    pool = Pool(**{"cpus": 4000, "mem": 1_000_000, "disk": 1_000_000, "ports": ((31000, 31009),), **resources})
    return Offer(name, agent or Agent(f"agent-{name}", f"host-{name}"), role, pools or (pool,))


def want(app: App = APP, count: int = 1, **more) -> Want:
    return Want(app, Requirement.of(app), count, **more)


def why(app: App, an_offer: Offer, rules: Rules | None = None) -> str | None:
    found = match_offers([want(app)], [an_offer], rules or Rules())
    assert len(found.placements) + len(found.rejects[app.id]) == 1
    return next(iter(found.rejects[app.id]), None)


WHY = [
    (APP, offer(), Rules(), None),
    (APP, offer(role="prod"), Rules(), ROLE),
    (replace(APP, role="prod"), offer(role="prod", pools=(Pool(cpus=4000, mem=10**6),)), Rules(), None),
    (
        replace(APP, role="prod", accepted_resource_roles=("prod",)),
        offer(role="prod", pools=(Pool(cpus=4000, mem=10**6),)),
        Rules(),
        ROLE,
    ),
    (
        replace(APP, role="prod", accepted_resource_roles=("prod",)),
        offer(role="prod", pools=(Pool("prod", cpus=4000, mem=10**6), Pool(cpus=1))),
        Rules(),
        None,
    ),
    (replace(APP, constraints=(Constraint("rack", "IS", "a"),)), offer(), Rules(), CONSTRAINT),
    (APP, offer(agent=Agent("a", "h", region="us")), Rules(home_region="eu"), CONSTRAINT),
    (APP, offer(agent=Agent("a", "h", region="eu")), Rules(home_region="eu"), None),
    (APP, replace(offer(), maintenance_at=100.0), Rules(now=100), MAINTENANCE),
    (APP, replace(offer(), maintenance_at=100.0), Rules(now=95), None),
    (APP, replace(offer(), maintenance_at=100.0), Rules(now=95, draining_seconds=10), MAINTENANCE),
    (APP, replace(offer(), maintenance_at=100.0, maintenance_until=110.0), Rules(now=111), None),
    (replace(APP, cpus=5), offer(), Rules(), CPUS),
    (replace(APP, mem=2000), offer(), Rules(), MEMORY),
    (replace(APP, disk=2000), offer(), Rules(), DISK),
    (replace(APP, gpus=1), offer(), Rules(), GPUS),
    (replace(APP, gpus=1), offer(gpus=1000), Rules(), None),
    (APP, offer(gpus=1000), Rules(), SCARCE),
    (APP, offer(gpus=1000), Rules(scarce_gpus=False), None),
    (replace(APP, port_definitions=(PortDefinition(0),)), offer(ports=()), Rules(), PORTS),
    (replace(APP, port_definitions=(PortDefinition(80),), require_ports=True), offer(), Rules(), PORTS),
    (replace(APP, port_definitions=(PortDefinition(31005),), require_ports=True), offer(), Rules(), None),
    (replace(APP, cpus=9, mem=9999), offer(), Rules(), CPUS),  # the first reason in Marathon's order
]
RESIDENT = Claim(
    APP, Requirement.of(APP), (Instance("i-1", "/app", "v", "v", "*", Agent("a", "h"), ()),), 1, "framework"
)


@pytest.mark.parametrize(("app", "an_offer", "rules", "reason"), WHY)
def test_why_an_offer_is_not_taken(app, an_offer, rules, reason) -> None:
    assert why(app, an_offer, rules) == reason


def test_why_an_offer_is_not_taken_by_one_that_has_a_volume() -> None:
    found = match_offers([], [offer(), offer("o2", role="prod")], Rules(), claims=[RESIDENT])
    assert found.rejects["/app"] == {RESERVATION: 1, ROLE: 1} and found.seen["/app"] == 2


def test_every_reason_has_a_row() -> None:
    assert {reason for *_, reason in WHY} | {RESERVATION} == {*REASONS, None}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(WHY), min_size=1, max_size=4))
def test_all_reasons_are_told_in_order_and_the_first_is_the_one_that_counts(rows) -> None:
    _, an_offer, rules, _ = rows[0]
    for app, *_ in rows:
        told = list(reasons(Requirement.of(app), OpenOffer(an_offer), None, rules))
        assert told == [reason for reason in REASONS if reason in told]
        if not app.constraints:
            assert next(iter(told), None) == why(app, an_offer, rules)


def test_what_is_too_small_in_every_way_is_told_of_in_every_way() -> None:
    huge = replace(APP, cpus=9, mem=9999, disk=9999, gpus=1, port_definitions=(PortDefinition(0),) * 99)
    told = list(reasons(Requirement.of(huge), OpenOffer(offer()), None, Rules()))
    assert told == [CPUS, MEMORY, DISK, GPUS, PORTS]


def test_a_labelled_reservation_belongs_to_somebody_and_is_not_used() -> None:
    pools = (Pool("*", cpus=8000, mem=10**6, labelled=True), Pool(cpus=500, mem=10**6))
    assert why(APP, offer(pools=pools)) == CPUS


def test_reserved_resources_are_taken_before_those_of_everybody() -> None:
    pools = (Pool(cpus=4000, mem=10**6), Pool("prod", cpus=500, mem=10**6))
    found = match_offers([want(replace(APP, role="prod"))], [offer(role="prod", pools=pools)], Rules())
    takes = {take.pool.role: (take.cpus, take.mem) for take in found.placements[0].takes}
    assert takes == {"prod": (500, 100_000), "*": (500, 0)}


def placed(found) -> Counter[str]:
    return Counter(placement.offer.id for placement in found.placements)


def test_spread_takes_the_agent_with_the_fewest_instances() -> None:
    offers = [offer("o1"), offer("o2"), offer("o3")]
    assert placed(match_offers([want(count=6)], offers, Rules())) == {"o1": 2, "o2": 2, "o3": 2}
    crowded = want(count=2, peers_on={"agent-o1": 3, "agent-o2": 1})
    assert placed(match_offers([crowded], offers, Rules())) == {"o3": 1, "o2": 1} or placed(
        match_offers([crowded], offers, Rules())
    ) == {"o3": 2}


def test_binpack_fills_one_agent_before_the_next() -> None:
    offers = [offer("o1"), offer("o2", cpus=3000), offer("o3")]
    assert placed(match_offers([want(count=3, strategy="binpack")], offers, Rules())) == {"o2": 3}


def test_group_by_spreads_evenly_within_one_round() -> None:
    app = replace(APP, constraints=(Constraint("rack", "GROUP_BY", "2"),))
    offers = [offer(f"o{i}", agent=Agent(f"a{i}", f"h{i}", (("rack", "ab"[i % 2]),))) for i in range(4)]
    found = match_offers([want(app, count=8)], offers, Rules())
    racks = Counter(dict(placement.offer.agent.attributes)["rack"] for placement in found.placements)
    assert racks == {"a": 4, "b": 4}


def test_what_fits_nowhere_starves_nobody() -> None:
    huge = [want(replace(APP, id=f"/huge{i}", cpus=100), count=50) for i in range(50)]
    found = match_offers([*huge, want(count=4)], [offer()], Rules())
    assert placed(found) == {"o1": 4}
    assert all(found.rejects[f"/huge{i}"] == {CPUS: 1} for i in range(50))


def test_scarce_room_is_shared_in_turns() -> None:
    wants = [want(replace(APP, id=f"/app{i}"), count=100) for i in range(4)]
    found = match_offers(wants, [offer("o1"), offer("o2")], Rules())
    assert Counter(placement.spec.id for placement in found.placements) == {f"/app{i}": 2 for i in range(4)}


apps = st.builds(
    App,
    id=st.integers(0, 10**6).map(lambda i: f"/app-{i}"),
    cpus=st.sampled_from([0.001, 0.1, 0.3, 1, 2.5]),
    mem=st.sampled_from([1, 32.5, 100, 400]),
    disk=st.sampled_from([0, 10]),
    port_definitions=st.lists(st.sampled_from([0, 0, 31000, 31003]), max_size=3).map(
        lambda ports: tuple(PortDefinition(p) for p in ports)
    ),
    require_ports=st.booleans(),
    constraints=st.sampled_from(
        [
            (),
            (),
            (Constraint("hostname", "UNIQUE"),),
            (Constraint("hostname", "MAX_PER", "2"),),
            (Constraint("rack", "GROUP_BY", "2"),),
        ]
    ),
)
offers = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 500_000), st.integers(0, 6), st.sampled_from("ab")), max_size=6
).map(
    lambda rows: [
        offer(
            f"o{i}",
            agent=Agent(f"a{i}", f"h{i}", (("rack", rack),)),
            cpus=cpus,
            mem=mem,
            ports=((31000, 31000 + ports - 1),) if ports else (),
        )
        for i, (cpus, mem, ports, rack) in enumerate(rows)
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(apps, st.integers(1, 6)), max_size=6, unique_by=lambda w: w[0].id),
    offers,
    st.sampled_from(["spread", "binpack"]),
)
def test_the_laws_of_a_round(specs, some_offers, strategy) -> None:
    wants = [want(app, count, strategy=strategy) for app, count in specs]
    found = match_offers(wants, some_offers, Rules())
    per_spec = Counter(placement.spec.id for placement in found.placements)
    used: dict[str, Counter[str]] = {}
    ports: dict[str, list[int]] = {}
    for placement in found.placements:
        total = used.setdefault(placement.offer.id, Counter())
        for take in placement.takes:
            total.update(cpus=take.cpus, mem=take.mem, disk=take.disk)
            assert sorted(take.ports) == sorted(placement.host_ports)
        ports.setdefault(placement.offer.agent.id, []).extend(placement.host_ports)
        requirement = Requirement.of(placement.spec)
        assert sum(take.cpus for take in placement.takes) == requirement.cpus
        assert sum(take.mem for take in placement.takes) == requirement.mem
        assert len(placement.host_ports) == requirement.ports.count
    for an_offer in some_offers:
        pool, total = an_offer.pools[0], used.get(an_offer.id, Counter())
        assert total["cpus"] <= pool.cpus
        assert total["mem"] <= pool.mem
        assert total["disk"] <= pool.disk
        assert (an_offer in found.unused) == (an_offer.id not in used)
    assert all(len(set(numbers)) == len(numbers) for numbers in ports.values())
    for app, count in specs:
        assert per_spec[app.id] <= count
        hosts = Counter(p.offer.agent.host for p in found.placements if p.spec.id == app.id)
        if app.constraints and app.constraints[0].operator == "UNIQUE":
            assert max(hosts.values(), default=0) <= 1
        if app.constraints and app.constraints[0].operator == "MAX_PER":
            assert max(hosts.values(), default=0) <= 2
        # Nobody is left waiting while something that was not touched would have done.
        if per_spec[app.id] < count and not app.constraints:
            alone = match_offers([want(app)], found.unused, Rules())
            assert not alone.placements
