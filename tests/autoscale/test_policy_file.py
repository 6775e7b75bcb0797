from pathlib import Path

import pytest

from autoscale.errors import PolicyError
from autoscale.policy import Rate, Signal
from autoscale.policy_file import load, load_one

HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 30
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}
  - type: Pods
    pods: {metric: {name: requests_per_second}, target: {type: AverageValue, averageValue: 1500m}}
  - type: External
    external:
      metric: {name: jobs_waiting, selector: {matchLabels: {queue: 'a"b'}}}
      target: {type: AverageValue, averageValue: "30"}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 120
      policies: [{type: Pods, value: 1, periodSeconds: 60}, {type: Percent, value: 10, periodSeconds: 60}]
      selectPolicy: Min
    scaleUp: {selectPolicy: Disabled}
"""


def file(tmp_path: Path, text: str, name: str = "policy.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_defaults_labels_and_the_apps_own_table_are_put_together_the_later_one_winning(tmp_path):
    text = "defaults: {min: 2, max: 20, tolerance: 0.2}\napps:\n  /web: {target: 40, max: 8}\n"
    policies = load(file(tmp_path, text))
    web = policies.of("/web", {"DROMOS_AUTOSCALE_MAX": "5", "DROMOS_AUTOSCALE_MIN": "3"})
    assert web is not None
    assert (web.target, web.min, web.max, web.tolerance) == (40, 3, 8, 0.2)
    labelled = policies.of("/api", {"DROMOS_AUTOSCALE_TARGET": "7"})
    assert labelled is not None
    assert (labelled.target, labelled.min, labelled.max) == (7, 2, 20)


def test_defaults_alone_scale_no_app(tmp_path):
    policies = load(file(tmp_path, "defaults: {target: 9}\napps: {}\n"))
    assert policies.of("/api", {}) is None
    assert policies.of("/api", {"DROMOS_AUTOSCALE_MIN": "3"}) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", '[defaults]\nmin = 2\n[apps."/web"]\ntarget = 40\n'),
        ("p.json", '{"defaults": {"min": 2}, "apps": {"web": {"target": 40}}}'),
    ],
)
def test_toml_and_json_say_the_same(tmp_path, name, text):
    web = load(file(tmp_path, text, name)).of("/web", {})
    assert web is not None and (web.target, web.min) == (40, 2)


def test_a_horizontal_pod_autoscaler_is_a_policy(tmp_path):
    web = load(file(tmp_path, HPA)).of("/shop/web", {})
    assert web is not None
    assert (web.min, web.max) == (2, 30)
    query = 'sum(jobs_waiting{queue="a\\"b"})'
    assert web.signals == (Signal("requests", 1.5), Signal("cpu", 0.6), Signal("query", 30, query=query))
    assert web.down_after == 120
    assert web.down.rates == (Rate("instances", 1, 60), Rate("percent", 10, 60)) and web.down.select == "min"
    assert web.up.rates == (Rate("percent", 100, 15), Rate("instances", 4, 15)) and web.up.select == "off"


def test_hpas_behaviour_block_stands_in_our_own_file_too(tmp_path):
    text = "apps:\n  /web:\n    target: 5\n    behavior: {scaleUp: {policies: [{type: Pods, value: 2, periodSeconds: 60}]}}\n"
    web = load(file(tmp_path, text)).of("/web", {})
    assert web is not None
    assert web.up.rates == (Rate("instances", 2, 60),) and web.down_after == 300


def test_several_autoscalers_in_one_file(tmp_path):
    second = HPA.replace("name: web", "name: api").replace(", namespace: shop", "")
    policies = load(file(tmp_path, f"{HPA}---\n{second}"))
    assert sorted(policies.apps) == ["/api", "/shop/web"]


def test_marathon_lb_autoscales_command_line_is_a_policy(tmp_path):
    text = (
        "./marathon-lb-autoscale --marathon http://master:8080 --haproxy http://lb1:9090,http://lb2:9090 \\\n"
        "  --apps shop_web_10001,api_10002 --target-rps 250 --interval 30 --cooldown 4 --samples 5\n"
        "  --min-instances 2 --intervals-past-threshold 3 --threshold-percent 0.25  # of last year\n"
    )
    policies = load(file(tmp_path, text, "flags"))
    web = policies.of("/shop/web", {})
    assert web is not None
    assert (web.target, web.min, web.down_after, web.tolerance, web.up.stabilisation) == (250, 2, 120, 0.25, 60)
    assert policies.of("/api", {}) is not None and policies.of("/other", {}) is None
    notes = " ".join(policies.notes)
    assert "--samples has no effect" in notes and "--haproxy is the daemon's own --edge" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is to hold a table"),
        ("a: [", "cannot be understood"),
        ("app: {}", "app is not known; a policy file has `defaults` and `apps`"),
        ("apps: {/web: 5}", "/web is to be a table"),
        ("apps: {/web: {target: 0}}", "/web: target=0 is to be above 0"),
        ("apps: {/web: {min: 5, max: 2}}", "/web: min=5 is above /web: max=2"),
        ("defaults: {tolerance: wide}", "defaults: tolerance='wide' is not a number"),
        ("apps: {/web: {target: 1, behavior: {scaleUp: {selectPolicy: Often}}}}", "selectPolicy 'Often' is none of"),
        ("kind: Deployment", "kind 'Deployment' is not HorizontalPodAutoscaler"),
        ("kind: HorizontalPodAutoscaler\nspec: {scaleTargetRef: {name: x}}", "maxReplicas is missing"),
        ("--apps web_1 --colour red", "--colour is not a flag"),
        ("--apps web", "'web' is not <app>_<port>"),
        ("--apps web_1 --interval soon", "'soon' is not a number"),
        ("--target-rps 5", "--apps is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(tmp_path, text, message):
    with pytest.raises(PolicyError) as caught:
        load(file(tmp_path, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"none\.yaml does not exist"):
        load(tmp_path / "none.yaml")


def test_a_replay_takes_any_file_about_one_app(tmp_path):
    bounds = {"target": 40, "min": 1, "max": 50}
    assert load_one(file(tmp_path, "down_after: 60\n"), bounds).target == 40
    assert load_one(file(tmp_path, HPA.split("  metrics:")[0]), bounds).max == 30
    assert load_one(file(tmp_path, "--apps web_1 --target-rps 9", "flags"), bounds).target == 9
    with pytest.raises(PolicyError, match="about 2 apps"):
        load_one(file(tmp_path, "apps: {a: {target: 1}, b: {target: 1}}"), bounds)
