"""Demand as people made it: the traffic that a package ships."""

from itertools import pairwise

from autoscale.policy import Policy
from autoscale.replay.dromos import Dromos
from autoscale.replay.others import AwsTargetTracking, HorizontalPodAutoscaler, MarathonLbAutoscale, NomadAutoscaler
from autoscale.replay.score import score
from autoscale.replay.simulate import Cluster, simulate
from bench._shipped import motorway

CLUSTER = Cluster(target=40)


def test_it_is_a_series_of_whole_days_with_their_rush_hours():
    demand = motorway(7)
    assert len(demand.times) == 7 * 1440 and demand.step == 60
    assert all(after - before == 60 for before, after in pairwise(demand.times))
    busy = sum(demand.rates[8 * 60 :: 1440]) / 7
    night = sum(demand.rates[3 * 60 :: 1440]) / 7
    assert busy > 4 * night > 0
    assert motorway(7) == demand


def test_no_other_policy_loses_less_or_costs_less_on_it():
    demand = motorway(7)
    ours = score(simulate(demand, CLUSTER, Dromos(Policy(40, max=1000))), CLUSTER)
    others = [
        score(simulate(demand, CLUSTER, scaler), CLUSTER)
        for scaler in (MarathonLbAutoscale(40), HorizontalPodAutoscaler(40), NomadAutoscaler(40), AwsTargetTracking(40))
    ]
    assert ours.lost_pct <= min(other.lost_pct for other in others) + 0.0001
    assert ours.instance_hours <= min(other.instance_hours for other in others if other.lost_pct < 0.05)
    assert ours.actions_per_day < 100 and ours.reversals_per_day < 5, "two rush hours a day are four turns"
