"""What breaks: each fault picks its victim by the seed's random numbers, and mends itself after a while."""

from collections.abc import Callable
from random import Random

from tests.simulation.node import Cluster, Node

Fault = Callable[[Cluster, Random], None]


def _node(cluster: Cluster, rnd: Random) -> Node:
    """Mostly the one that leads."""
    leader = cluster.leader
    return leader if leader is not None and rnd.random() < 0.8 else rnd.choice(cluster.nodes)


def crash(cluster: Cluster, rnd: Random) -> None:
    _node(cluster, rnd).crash("killed")


def crash_at_a_commit(cluster: Cluster, rnd: Random) -> None:
    _node(cluster, rnd).store.doom = rnd.choice(["before", "after"])


def crash_between_actions(cluster: Cluster, rnd: Random) -> None:
    _node(cluster, rnd).actions_left = rnd.randint(0, 6)


def stop_for_a_while(cluster: Cluster, rnd: Random) -> None:
    _node(cluster, rnd).pause(rnd.choice([3, 15, 40]))


def break_the_connection(cluster: Cluster, rnd: Random) -> None:
    cluster.world.note("the connection breaks")
    _node(cluster, rnd).link.break_off("cut")


def cut_off_from_the_master(cluster: Cluster, rnd: Random) -> None:
    node = _node(cluster, rnd)
    if not (node.link.cut_in or node.link.cut_out):
        inwards, outwards = rnd.choice([(True, False), (False, True), (True, True)])
        node.link.cut(inwards=inwards, outwards=outwards)
        cluster.world.after(rnd.choice([3, 15, 40]), node.link.heal)


def cut_off_from_the_store(cluster: Cluster, rnd: Random) -> None:
    node = _node(cluster, rnd)
    if not node.cut_from_store:
        node.cut_store(True)
        cluster.world.after(rnd.choice([3, 15, 40]), lambda: node.cut_store(False))


def cut_off_from_both(cluster: Cluster, rnd: Random) -> None:
    node = _node(cluster, rnd)
    if not (node.cut_from_store or node.link.cut_in or node.link.cut_out):
        node.cut_store(True)
        node.link.cut(inwards=True, outwards=True)
        seconds = rnd.choice([3, 15, 40])
        cluster.world.after(seconds, node.link.heal)
        cluster.world.after(seconds, lambda: node.cut_store(False))


def fill_the_store(cluster: Cluster, rnd: Random) -> None:
    cluster.ensemble.fill(rnd.uniform(1, 30))


def slow_the_store(cluster: Cluster, rnd: Random) -> None:
    cluster.ensemble.slow_down(rnd.uniform(5, 60), rnd.choice([0.1, 1.0, 5.0]))


def fail_the_master_over(cluster: Cluster, rnd: Random) -> None:
    cluster.master.fail_over()


def cut_an_agent_off(cluster: Cluster, rnd: Random) -> None:
    master = cluster.master
    agent = rnd.choice([agent for agent in master.agents.values() if agent.up])
    if agent.connected:
        master.partition(agent)
        cluster.world.after(rnd.choice([5, 40, 100, 250]), lambda: master.heal(agent))


def lose_an_agent(cluster: Cluster, rnd: Random) -> None:
    agents = [agent for agent in cluster.master.agents.values() if agent.up]
    if len(agents) > 1 and rnd.random() < 0.3:
        cluster.master.lose(rnd.choice(agents))


def end_a_task(cluster: Cluster, rnd: Random) -> None:
    live = cluster.master.live_tasks()
    if live:
        task = rnd.choice(live)
        cluster.world.note(f"{task.id} dies")
        cluster.master.end(task, rnd.choice(["TASK_FAILED", "TASK_FINISHED"]), None)


def sicken_a_task(cluster: Cluster, rnd: Random) -> None:
    live = cluster.master.live_tasks()
    if live:
        rnd.choice(live).healthy = False


def fail_all_probes(cluster: Cluster, rnd: Random) -> None:
    cluster.probe_cut = True
    cluster.world.note("all probes fail")

    def mend() -> None:
        cluster.probe_cut = False

    cluster.world.after(rnd.uniform(5, 60), mend)


def step_a_clock(cluster: Cluster, rnd: Random) -> None:
    """Forwards for all that there is, or either way for one machine alone."""
    if rnd.random() < 0.5:
        cluster.world.note("time jumps")
        cluster.world.now += rnd.uniform(0, 30)
    else:
        node = _node(cluster, rnd)
        node.skew = rnd.uniform(-20, 20)
        cluster.world.note(f"the clock of {node.name} is off by {node.skew:.1f} s")
        node.wake()


FAULTS: tuple[Fault, ...] = (
    crash,
    crash_at_a_commit,
    crash_at_a_commit,
    crash_between_actions,
    crash_between_actions,
    stop_for_a_while,
    break_the_connection,
    cut_off_from_the_master,
    cut_off_from_the_store,
    cut_off_from_both,
    fill_the_store,
    slow_the_store,
    fail_the_master_over,
    cut_an_agent_off,
    lose_an_agent,
    end_a_task,
    end_a_task,
    sicken_a_task,
    fail_all_probes,
    step_a_clock,
)


def maintain_an_agent(cluster: Cluster, rnd: Random) -> None:
    """It is announced; then the machine goes away for a while, or it is called off before."""
    master, world = cluster.master, cluster.world
    agent = rnd.choice([agent for agent in master.agents.values() if agent.up])
    if agent.maintenance is not None:
        return
    ahead, length = rnd.uniform(5, 60), rnd.uniform(20, 120)
    master.plan_maintenance(agent, world.now + ahead, world.now + ahead + length)
    if rnd.random() < 0.3:
        world.after(rnd.uniform(0, ahead), lambda: master.end_maintenance(agent))
        return

    def go() -> None:
        if agent.connected and agent.up and agent.maintenance is not None:
            master.partition(agent)

    def end() -> None:
        master.end_maintenance(agent)
        master.heal(agent)

    world.after(ahead, go)
    world.after(ahead + length, end)


def declare_lost_agents_gone(cluster: Cluster, rnd: Random) -> None:
    for agent in cluster.master.agents.values():
        if not agent.up and agent.unreachable:
            cluster.master.declare_gone(agent)


# Of schedules in which users do more than with simple apps.
MORE_FAULTS: tuple[Fault, ...] = (*FAULTS, maintain_an_agent, maintain_an_agent, declare_lost_agents_gone)


def leave_a_commit_in_doubt(cluster: Cluster, rnd: Random) -> None:
    _node(cluster, rnd).store.doom = "in doubt"


def fail_claims(cluster: Cluster, rnd: Random) -> None:
    """Of those who are elected next."""
    cluster.ensemble.failing_claims = rnd.randint(1, 3)


# Of a store that breaks off in the middle.
DOUBTS: tuple[Fault, ...] = (leave_a_commit_in_doubt, leave_a_commit_in_doubt, fail_claims)


def mend_everything(cluster: Cluster) -> None:
    cluster.probe_cut = False
    cluster.ensemble.failing_claims = 0
    cluster.ensemble.failure, cluster.ensemble.slowness = None, 0.0
    for node in cluster.nodes:
        node.actions_left = None
        node.store.doom = None
        node.link.heal()
        if node.cut_from_store:
            node.cut_store(False)
        node.resume(node.life)
    for agent in list(cluster.master.agents.values()):
        cluster.master.end_maintenance(agent)
        cluster.master.heal(agent)
        for task in agent.tasks.values():
            task.healthy = True
