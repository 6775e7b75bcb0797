"""`?filter=`: what expressions pick, and how wrong ones are refused."""

import pytest

from tests.contract.consul.conftest import Api

META = {"version": "2", "team": "edge"}


@pytest.mark.parametrize(
    ("expression", "picks"),
    [
        ("Service.Port == 8080", True),
        ("Service.Port != 8080", False),
        ("Service.ID == `{name}-1`", True),
        ('Service.Service == "{name}" and Service.Port == 80', False),
        ("Service.Port == 80 or Service.Port == 8080", True),
        ("not Service.Port == 80", True),
        ("not (Service.Port == 80 or v1 in Service.Tags)", False),
        ("Service.Port == 80 or Service.Port == 8080 and v2 in Service.Tags", False),
        ("v1 in Service.Tags", True),
        ('"v2" not in Service.Tags', True),
        ("Service.Tags contains v1", True),
        ("Service.Tags not contains v1", False),
        ("Service.Tags is empty", False),
        ("Service.Tags is not empty", True),
        ("Service.Meta.version == 2", True),
        ('Service.Meta["version"] == "2"', True),
        ("Service.Meta[`team`] matches `^ed`", True),
        ("Service.Meta.team not matches `^ed`", False),
        ("team in Service.Meta", True),
        ("Service.Meta contains nope", False),
        ("Service.Meta is empty", False),
        ("Service.Meta.nope == x", False),
        ('Service.Meta.nope == ""', False),
        ("Service.Meta.nope != x", True),
        ("x not in Service.Meta.nope", True),
        ("Service.Meta.nope matches `.*`", True),
        ("Service.Service matches `-[0-9a-f]+$`", True),
        ("svc in Service.Service", True),
        ("Service.EnableTagOverride == false", True),
        ("Service.EnableTagOverride == t", False),
        ("Service.TaggedAddresses is empty", True),
        ("Service.Weights.Passing == 1", True),
        ("Node.Datacenter == dc1", True),
        ("Node.Meta.rack == r1", True),
        ("Node.Address == `10.0.0.1`", True),
        ("Checks is not empty", True),
        ("Checks.Status == passing", True),
        ("Checks.Status == critical", True),
        ("Checks.Status == warning", False),
        ("Checks.Status != passing", True),
        ("passing not in Checks.Status", True),
        ("Checks.ServiceTags contains v1", True),
        ("", True),
        ("   Service.Port==8080   ", True),
    ],
)
async def test_an_expression_picks_the_instances_that_fit(api: Api, expression: str, picks: bool) -> None:
    name = api.name()
    checks = [{"CheckID": "a", "ServiceID": f"{name}-1", "Status": "passing"}, {"CheckID": "b", "Status": "critical"}]
    service = {"ID": f"{name}-1", "Service": name, "Tags": ["v1"], "Port": 8080, "Meta": META}
    body = {
        "Node": api.name("node"),
        "Address": "10.0.0.1",
        "NodeMeta": {"rack": "r1"},
        "Service": service,
        "Checks": checks,
    }
    await api.done("catalog/register", body)
    reply = await api.get(f"health/service/{name}", filter=expression.format(name=name))
    assert reply.status == 200, reply.text
    assert len(reply.json) == int(picks)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("Service.Nope == x", 'Selector "Service.Nope" is not valid'),
        ("Nope == x", 'Selector "Nope" is not valid'),
        ("Service.Meta.a.b == x", 'Selector "Service.Meta.a.b" is not valid'),
        ("Service.CreateIndex == 1", 'Selector "Service.CreateIndex" is not valid'),
        ("Service == x", 'Invalid match operator "Equal" for selector "Service"'),
        ("Service.Tags == v1", 'Invalid match operator "Equal" for selector "Service.Tags"'),
        ("Service.Port is empty", 'Invalid match operator "Is Empty" for selector "Service.Port"'),
        ("Service.Service is empty", 'Invalid match operator "Is Empty" for selector "Service.Service"'),
        (
            "Service.Port == abc",
            'Failed to coerce value "abc" for selector "Service.Port": strconv.ParseInt: parsing "abc": invalid syntax',
        ),
        (
            "Service.EnableTagOverride == maybe",
            'Failed to coerce value "maybe" for selector "Service.EnableTagOverride": '
            'strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        ("Service.ID matches `[`", 'Failed to compile regular expression "["'),
        ("nonsense", "1:9 (8): no match found"),
        ("Service.ID matches con.*", "1:24 (23): no match found"),
        ("Service.Port > 1", "1:14 (13): no match found"),
        ("Service.ID == a-b", "1:16 (15): no match found"),
        ("Service.Port == 1 && Service.Port == 2", "1:19 (18): no match found"),
        ("Service.Port == 1)", "1:18 (17): no match found"),
        ("(Service.Port == 1", ""),
        ("Service.Port == 080", ""),
        ("Service.Tags.0 == x", "1:14 (13): no match found"),
    ],
)
async def test_a_wrong_expression_is_refused_in_one_line(api: Api, expression: str, problem: str) -> None:
    reply = await api.get("health/service/consul", filter=expression)
    assert reply.status == 500
    assert reply.text.startswith(f"Failed to create boolean expression evaluator: {problem}")
    assert "\n" not in reply.text


@pytest.mark.parametrize(
    ("path", "expression", "refused"),
    [
        ("catalog/nodes", "Node == `test-node`", "Service == x"),
        ("catalog/service/consul", "ServiceName == consul and ServicePort != 1", "Tags == x"),
        ("catalog/node/test-node", "Service == consul", "ServiceName == x"),
        ("health/node/test-node", "CheckID == serfHealth", "Service == x"),
        ("health/state/any", "Node == `test-node` and Status == passing", "Definition == x"),
        ("health/checks/consul", "Status == passing", "Foo == x"),
        ("agent/services", "Port != 1", "Node == x"),
    ],
)
async def test_every_list_has_fields_of_its_own(api: Api, path: str, expression: str, refused: str) -> None:
    assert (await api.get(path, filter=expression)).status == 200
    assert (await api.get(path, filter=refused)).status == 500
