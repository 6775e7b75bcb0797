"""How well demand is met, at what cost and how calmly: our policy beside four others, in one simulator, over five
kinds of demand and a measured one."""

import time

from rich.console import Console
from rich.table import Table

from autoscale.policy import Policy
from autoscale.replay import trace
from autoscale.replay.dromos import Dromos
from autoscale.replay.others import AwsTargetTracking, HorizontalPodAutoscaler, MarathonLbAutoscale, NomadAutoscaler
from autoscale.replay.score import Score, removed_during, score, seconds_to
from autoscale.replay.simulate import Cluster, Outage, simulate
from autoscale.replay.trace import Trace, step_up
from bench._shipped import motorway

TARGET = 40.0
CLUSTER = Cluster(target=TARGET)
POLICIES = {
    "dromos": lambda: Dromos(Policy(TARGET, max=1000)),
    "mlb": lambda: MarathonLbAutoscale(TARGET),
    "hpa": lambda: HorizontalPodAutoscaler(TARGET),
    "nomad": lambda: NomadAutoscaler(TARGET),
    "aws": lambda: AwsTargetTracking(TARGET),
}
TRACES = (trace.diurnal(), trace.growth(), trace.ramps(), trace.walk(), trace.spikes(), motorway())


def main() -> None:
    console = Console(width=140)
    columns = ("policy", "θU %", "θO %", "τU %", "lost %", "instance-hours", "actions/day", "reversals/day", "seconds")
    for demand in TRACES:
        table = Table(*columns, title=f"{demand.name}: {len(demand.times):,} samples", box=None, title_justify="left")
        scores: dict[str, Score] = {}
        for name, make in POLICIES.items():
            began = time.perf_counter()
            result = scores[name] = score(simulate(demand, CLUSTER, make()), CLUSTER)
            spent = time.perf_counter() - began
            table.add_row(
                name,
                *(f"{value:.2f}" for value in (result.theta_u, result.theta_o, result.tau_u)),
                f"{result.lost_pct:.4f}",
                f"{result.instance_hours:,.0f}",
                f"{result.actions_per_day:.1f}",
                f"{result.reversals_per_day:.1f}",
                f"{spent:.2f}",
            )
        console.print(table, _goals(scores), "")
    console.print(_sudden(), "")


def _goals(scores: dict[str, Score]) -> str:
    """Whether we lose no more than the best, cost no more than the cheapest that hardly loses, and turn a third as often as HPA."""
    ours = scores["dromos"]
    others = [result for name, result in scores.items() if name != "dromos"]
    least_lost = min(result.lost_pct for result in others)
    cheapest = min((result.instance_hours for result in others if result.lost_pct < 0.05), default=None)
    goals = [
        ("lost", round(ours.lost_pct, 4) <= round(least_lost, 4), f"{least_lost:.4f} %"),
        (
            "instance-hours",
            cheapest is None or ours.instance_hours <= cheapest,
            f"{cheapest:,.0f}" if cheapest else "any",
        ),
        (
            "reversals",
            ours.reversals_per_day <= scores["hpa"].reversals_per_day / 3,
            f"{scores['hpa'].reversals_per_day / 3:.1f} a day",
        ),
    ]
    return " goals: " + ", ".join(f"{name} at most {most}: {'met' if met else 'MISSED'}" for name, met, most in goals)


def _sudden() -> Table:
    """A tenfold step, and what is taken away when the metric is absent, frozen, or reads zero."""
    table = Table(
        "policy", "10× step to 90 %, s", title="step and outages (10 instances needed)", box=None, title_justify="left"
    )
    outages = [(kind, minutes) for kind in ("absent", "frozen", "zero") for minutes in (5, 10)]
    for kind, minutes in outages:
        table.add_column(f"{kind} {minutes} min", justify="right")
    steady = Trace("steady", tuple(60.0 * minute for minute in range(240)), (0.99 * 10 * TARGET,) * 240)
    for name, make in POLICIES.items():
        reached = seconds_to(simulate(step_up(before=0.9 * TARGET, after=9 * TARGET), CLUSTER, make()), 3600, 9)
        removed = []
        for kind, minutes in outages:
            outage = Outage(3600, 3600 + 60 * minutes, kind)
            moments = simulate(steady, CLUSTER, make(), outage)
            removed.append(str(removed_during(moments, outage.start, outage.end + 600)))
        table.add_row(name, "never" if reached is None else f"{reached:.0f}", *removed)
    return table


if __name__ == "__main__":
    main()
