"""The allocator: who is offered what. Laws that hold whatever frameworks do, and tables of who comes first."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from embedded.mesos.allocator import Allocation, Allocator
from embedded.mesos.resources import Resources, parse_resources

AGENT = parse_resources("cpus:4;mem:4096;ports:[100-199]")


def allocator(agents: int = 1, interval: float = 1.0) -> Allocator:
    made = Allocator(interval=interval, shuffle=lambda items: None)
    for number in range(agents):
        made.add_agent(f"agent-{number}", AGENT, Resources())
    return made


def add(allocator: Allocator, framework: str, *roles: str, **more: Any) -> None:
    allocator.add_framework(framework, roles or ("role",), suppressed=(), takes_gpus=False, **more)


def recover(allocator: Allocator, allocation: Allocation, *, now: float = 0.0, refuse: float | None = None) -> None:
    allocator.recover(
        allocation.framework_id,
        allocation.role,
        allocation.agent_id,
        allocation.resources,
        now=now,
        refuse_seconds=refuse,
    )


def test_all_of_an_agent_goes_to_one_framework():
    cluster = allocator()
    add(cluster, "a")
    add(cluster, "b")
    (allocation,) = cluster.allocate(0)

    assert allocation.resources == AGENT
    assert cluster.allocate(0) == []


def test_agents_are_dealt_out_in_turn():
    cluster = allocator(agents=4)
    add(cluster, "a")
    add(cluster, "b")

    assert [allocation.framework_id for allocation in cluster.allocate(0)] == ["a", "b", "a", "b"]


def test_the_role_with_the_smaller_share_comes_first_then_its_framework_with_the_smaller_share():
    cluster = allocator(agents=6)
    add(cluster, "a1", "a")
    add(cluster, "a2", "a")
    add(cluster, "b1", "b")
    allocations = cluster.allocate(0)

    assert [each.role for each in allocations] == ["a", "b"] * 3
    assert [each.framework_id for each in allocations if each.role == "a"] == ["a1", "a2", "a1"]


def test_the_dominant_share_counts():
    cluster = allocator(agents=2)
    add(cluster, "memory")
    add(cluster, "cpu")
    cluster.hold("memory", "role", parse_resources("cpus:1;mem:6000"))  # 6000 of 8192
    cluster.hold("cpu", "role", parse_resources("cpus:5;mem:100"))  # 5 of 8
    allocations = cluster.allocate(0)

    assert allocations[0].framework_id == "cpu"
    assert round(cluster.share("role"), 2) >= 0.75


def test_a_refused_offer_stays_away_until_its_time_is_over():
    cluster = allocator()
    add(cluster, "a")
    (allocation,) = cluster.allocate(0)
    recover(cluster, allocation, now=10, refuse=5)

    assert cluster.allocate(14.9) == []
    assert [each.resources for each in cluster.allocate(15)] == [AGENT]


def test_a_filter_is_never_shorter_than_the_interval_and_zero_is_none():
    cluster = allocator(interval=2.0)
    add(cluster, "a")
    (allocation,) = cluster.allocate(0)
    recover(cluster, allocation, now=0, refuse=0.1)
    assert cluster.allocate(1.9) == []
    (allocation,) = cluster.allocate(2.0)
    recover(cluster, allocation, now=2.0, refuse=0)
    assert len(cluster.allocate(2.0)) == 1


def test_what_one_framework_refuses_is_anothers():
    cluster = allocator()
    add(cluster, "a")
    add(cluster, "b")
    (first,) = cluster.allocate(0)
    recover(cluster, first, refuse=3600)
    (second,) = cluster.allocate(0)

    assert {first.framework_id, second.framework_id} == {"a", "b"}


def test_a_filter_holds_back_what_was_refused_or_less_not_more():
    cluster = allocator()
    add(cluster, "a")
    (allocation,) = cluster.allocate(0)
    part = parse_resources("cpus:1;mem:100")
    cluster.recover("a", "role", "agent-0", allocation.resources - part, now=0, refuse_seconds=3600)
    assert cluster.allocate(1) == []
    cluster.recover("a", "role", "agent-0", part, now=1)
    (again,) = cluster.allocate(1)

    assert again.resources == AGENT


def test_reviving_forgets_the_filters_of_the_roles_that_are_named():
    cluster = allocator(agents=1)
    add(cluster, "a", "one", "two")
    for _ in range(2):
        (allocation,) = cluster.allocate(0)
        recover(cluster, allocation, refuse=3600)
    assert cluster.allocate(1) == []
    cluster.revive("a", ["two"])

    assert [each.role for each in cluster.allocate(1)] == ["two"]


def test_an_inactive_agent_is_not_offered():
    cluster = allocator()
    add(cluster, "a")
    cluster.set_agent_active("agent-0", False)
    assert cluster.allocate(0) == []
    cluster.set_agent_active("agent-0", True)
    assert len(cluster.allocate(0)) == 1


def test_crumbs_are_not_offered():
    cluster = allocator(agents=0)
    cluster.add_agent("crumbs", parse_resources("cpus:0.009;mem:31;disk:1000"), Resources())
    cluster.add_agent("memory", parse_resources("mem:32"), Resources())
    add(cluster, "a")

    assert [each.agent_id for each in cluster.allocate(0)] == ["memory"]


def test_reserved_resources_go_to_their_role_and_the_rest_to_another():
    cluster = allocator(agents=0)
    cluster.add_agent("agent", parse_resources("cpus(web):2;mem(web):512;cpus:2;mem:512"), Resources())
    add(cluster, "batch", "batch")
    (allocation,) = cluster.allocate(0)
    assert allocation.resources == parse_resources("cpus:2;mem:512")

    add(cluster, "web", "web")
    (reserved,) = cluster.allocate(0)
    assert (reserved.framework_id, reserved.resources) == ("web", parse_resources("cpus(web):2;mem(web):512"))


def test_an_agent_with_gpus_is_only_for_those_that_take_them():
    cluster = allocator(agents=0)
    cluster.add_agent("agent", parse_resources("cpus:2;mem:512;gpus:1"), Resources())
    add(cluster, "plain")
    assert cluster.allocate(0) == []
    cluster.add_framework("gpu", ["role"], suppressed=(), takes_gpus=True)
    assert [each.framework_id for each in cluster.allocate(0)] == ["gpu"]


def test_only_the_agents_that_are_named_are_looked_at():
    cluster = allocator(agents=3)
    add(cluster, "a")

    assert [each.agent_id for each in cluster.allocate(0, ["agent-1", "unknown"])] == ["agent-1"]


@given(st.integers(1, 8), st.integers(1, 5))
def test_among_equals_no_one_gets_two_agents_more_than_another(agents: int, frameworks: int):
    cluster = allocator(agents=agents)
    for number in range(frameworks):
        add(cluster, f"framework-{number}")
    allocations = cluster.allocate(0)
    counts = [sum(a.framework_id == f"framework-{n}" for a in allocations) for n in range(frameworks)]

    assert sum(counts) == agents
    assert max(counts) - min(counts) <= 1


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, nothing is offered twice, nothing is lost, and nobody gets what they may not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cluster = allocator(agents=3)
        self.out: list[Allocation] = []
        self.suppressed: set[tuple[str, str]] = set()
        self.inactive: set[str] = set()
        self.roles = {"a": ["one"], "b": ["one", "two"]}
        for framework, roles in self.roles.items():
            add(self.cluster, framework, *roles)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def allocate(self) -> None:
        for allocation in self.cluster.allocate(self.now):
            assert (allocation.framework_id, allocation.role) not in self.suppressed
            assert allocation.framework_id not in self.inactive
            assert allocation.role in self.roles[allocation.framework_id]
            self.out.append(allocation)

    @rule(refuse=st.one_of(st.none(), st.floats(0, 5)), which=st.integers(0, 100))
    def give_back(self, refuse: float | None, which: int) -> None:
        if self.out:
            recover(self.cluster, self.out.pop(which % len(self.out)), now=self.now, refuse=refuse)

    @rule(framework=st.sampled_from("ab"), role=st.sampled_from(["one", "two"]))
    def suppress(self, framework: str, role: str) -> None:
        if role in self.roles[framework]:
            self.cluster.suppress(framework, [role])
            self.suppressed.add((framework, role))

    @rule(framework=st.sampled_from("ab"))
    def revive(self, framework: str) -> None:
        self.cluster.revive(framework, [])
        self.suppressed = {pair for pair in self.suppressed if pair[0] != framework}

    @rule(framework=st.sampled_from("ab"), active=st.booleans())
    def switch(self, framework: str, active: bool) -> None:
        (self.cluster.activate if active else self.cluster.deactivate)(framework)
        (self.inactive.discard if active else self.inactive.add)(framework)

    @invariant()
    def what_is_out_and_what_is_free_is_what_there_is(self) -> None:
        for number in range(3):
            agent_id = f"agent-{number}"
            out = sum((a.resources for a in self.out if a.agent_id == agent_id), Resources())
            assert AGENT.contains(out)
            assert self.cluster.free(agent_id) == AGENT - out


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase
