"""Whatever is sent: no 500, and a request that was refused has changed nothing."""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from yarl import URL

from framework.model.group import Declared
from tests.support.memory_cluster import Framework, running_framework

# `make fuzz` looks deeper than a run of all tests allows, with 10,000.
EXAMPLES = int(os.environ.get("DROMOS_FUZZ_EXAMPLES", "250"))
pytestmark = pytest.mark.timeout(max(600, EXAMPLES))

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ids = st.sampled_from(["/a", "a", "/g/a", "g/b", "/", "//a//", "/A", "../x", "", "/a/tasks", "/g", "/a" * 300])
names = st.sampled_from(
    [
        "id",
        "cmd",
        "args",
        "cpus",
        "mem",
        "instances",
        "env",
        "labels",
        "container",
        "networks",
        "ports",
        "portDefinitions",
        "healthChecks",
        "constraints",
        "dependencies",
        "version",
        "upgradeStrategy",
        "unreachableStrategy",
        "role",
        "acceptedResourceRoles",
        "fetch",
        "uris",
        "secrets",
        "apps",
        "groups",
        "pods",
        "scaleBy",
        "enforceRole",
        "containers",
        "scaling",
        "scheduling",
        "volumes",
        "ipAddress",
        "readinessChecks",
        "check",
        "killSelection",
        "residency",
    ]
)
apps = st.fixed_dictionaries(
    {"id": ids},
    optional={
        "cmd": st.just("x") | json_values,
        "instances": st.integers(-1, 3) | st.text(max_size=3) | st.none() | st.just(2**40) | st.floats(0, 3),
        "ports": st.lists(st.integers(-1, 70000), max_size=3) | json_values,
        "dependencies": st.lists(ids, max_size=2) | json_values,
        "container": st.fixed_dictionaries(
            {},
            optional={"docker": json_values, "type": json_values, "volumes": json_values, "portMappings": json_values},
        ),
        "networks": st.lists(
            st.fixed_dictionaries({"mode": st.sampled_from(["host", "container", "container/bridge"])}), max_size=2
        ),
        "constraints": st.lists(
            st.lists(st.sampled_from(["hostname", "UNIQUE", "LIKE", "(", "MAX_PER", "3"]), max_size=4), max_size=2
        ),
        "env": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2) | json_values,
        "version": json_values,
    },
)
factors = st.floats(-1, 1.5) | st.text(max_size=3) | st.none()
groups = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"id": ids, "apps": st.lists(apps, max_size=2), "scaleBy": factors, "version": json_values}
    ),
    lambda inner: st.fixed_dictionaries(
        {"id": ids}, optional={"groups": st.lists(inner, max_size=2), "apps": st.lists(apps, max_size=2)}
    ),
    max_leaves=4,
)
bodies = (
    st.none()
    | apps
    | st.lists(apps, max_size=2)
    | groups
    | st.dictionaries(names, json_values, max_size=4)
    | json_values
    | st.fixed_dictionaries({"ids": st.lists(st.text(max_size=8), max_size=2)})
)
segments = st.sampled_from(
    [
        "a",
        "g",
        "*",
        "nope",
        "%00",
        "%ff",
        "..",
        "::status",
        "::versions",
        "%F0%9F%92%A9",
        "2020-01-01T00:00:00Z",
        "0",
        "x" * 3000,
    ]
)
prefixes = st.sampled_from(
    [
        "/v2/apps",
        "/v2/groups",
        "/v2/pods",
        "/v2/tasks",
        "/v2/tasks/delete",
        "/v2/deployments",
        "/v2/queue",
        "/v2",
        "",
        "/logging",
        "/v2/info",
    ]
)
suffixes = st.sampled_from(
    [
        "",
        "/",
        "/tasks",
        "/versions",
        "/restart",
        "/delay",
        "/apps",
        "/versions/x",
        "::status",
        "::instances",
        "::versions/x",
    ]
)
paths = st.builds(
    lambda prefix, middle, end: "/" + (prefix + "".join("/" + part for part in middle) + end).lstrip("/"),
    prefixes,
    st.lists(segments, max_size=2),
    suffixes,
)
parameters = st.sampled_from(
    [
        "force",
        "scale",
        "wipe",
        "partialUpdate",
        "dryRun",
        "deadline",
        "onFailure",
        "embed",
        "label",
        "id",
        "cmd",
        "status",
        "status[]",
        "host",
        "event_type",
    ]
)
values = st.sampled_from(
    ["true", "false", "", "x", "-1", "a==b", "(", "apps.tasks", "group.apps", "lastUnusedOffers", "1e9"]
) | st.text(max_size=8)


def passes_soon(name: str, value: str) -> bool:
    """A deployment whose deadline has passed may roll back, and so change what is declared while something else is asked."""
    with contextlib.suppress(ValueError):
        return name == "deadline" and 0 < float(value) < 3600
    return False


queries = st.lists(st.tuples(parameters, values).filter(lambda pair: not passes_soon(*pair)), max_size=3)
# Three quarters go where something is, with a body that is almost right.
known = st.sampled_from(
    [
        *(
            (method, path)
            for method in ("PUT", "PATCH")
            for path in ("/v2/apps", "/v2/apps/a", "/v2/apps//g/a/", "/v2/apps/new")
        ),
        *(
            (method, path)
            for method in ("POST", "PUT")
            for path in ("/v2/groups", "/v2/groups/g", "/v2/groups/g/h", "/v2/pods")
        ),
        *(
            ("GET", path)
            for path in ("/v2/apps", "/v2/apps/a", "/v2/apps/*", "/v2/groups", "/v2/groups/g", "/v2/tasks")
        ),
        *(
            ("GET", path)
            for path in ("/v2/queue", "/v2/deployments", "/v2/pods/::status", "/v2/apps/a/versions", "/v2/info")
        ),
        *(
            ("DELETE", path)
            for path in ("/v2/apps/a/tasks", "/v2/apps/new", "/v2/groups/g", "/v2/pods/a", "/v2/queue/a/delay")
        ),
        *(("POST", path) for path in ("/v2/apps", "/v2/apps/a/restart", "/v2/tasks/delete", "/logging")),
        ("PUT", "/v2/pods/a"),
    ]
)
methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
headers = st.fixed_dictionaries(
    {},
    optional={
        "Accept": st.sampled_from(["application/json", "text/plain", "*/*", "x"]),
        "Content-Type": st.sampled_from(["application/json", "text/plain", ""]),
        "Authorization": st.sampled_from(["Basic x", "token=x"]),
    },
)


def with_framework(test: Callable[[Framework, asyncio.Runner], None]) -> None:
    """Runs `test` beside a framework in an event loop of their own, for hypothesis, which is not asynchronous."""
    with asyncio.Runner() as runner:
        context = running_framework()
        framework = runner.run(context.__aenter__())
        try:
            runner.run(_prepared(framework))
            test(framework, runner)
        finally:
            runner.run(context.__aexit__(None, None, None))


async def _prepared(framework: Framework) -> None:
    await framework.app("/a", instances=2)
    await framework.app("/g/a")


def test_nothing_that_is_sent_is_answered_by_500_and_what_is_refused_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def attack(framework: Framework, runner: asyncio.Runner) -> None:
        answers: Counter[int] = Counter()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.one_of(known, known, known, st.tuples(methods, paths)), queries, headers, bodies)
        def send(where: tuple[str, str], query: Any, sent: Any, body: Any) -> None:
            method, path = where
            if path.rstrip("/") == "/v2/events":
                return
            answers[runner.run(_send(framework, method, path, query, sent, body))] += 1

        send()
        if "DROMOS_FUZZ_EXAMPLES" in os.environ:
            shown = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
            with capsys.disabled():
                print(f"\n{answers.total()} requests: {shown}")
        assert runner.run(framework.call("GET", "/v2/apps")).status == 200
        assert framework.engine.figures.errors == 0

    with_framework(attack)


async def _send(framework: Framework, method: str, path: str, query: Any, sent: Any, body: Any) -> int:
    search = "&".join(f"{quote(name)}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in query)
    view = framework.engine.view
    before, deploying = view.declared, {deployment.id for deployment in view.deployments()}
    data = None if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
    url = framework.url + path + ("?" + search if search else "")
    async with framework.http.request(
        method,
        URL(url, encoded=True),
        data=data,
        headers=sent,
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(60),
    ) as response:
        text = await response.read()
    assert response.status < 500 or response.status == 503, (method, url, body, text)
    if response.status >= 400 or method in ("GET", "HEAD", "OPTIONS"):
        assert view.declared == before, (method, url, body, text)
        assert {deployment.id for deployment in view.deployments()} <= deploying, (method, url, body, text)
    if response.status >= 400 and method != "HEAD" and not path.startswith("/ui"):
        assert json.loads(text)["message"]
    _still_sound(framework.engine.view.declared)
    return response.status


def _still_sound(declared: Declared) -> None:
    assert not set(declared.apps) & set(declared.groups)
    ports = [port for app in declared.apps.values() for port in app.service_ports if port in range(10000, 20001)]
    given_out = [port for port in ports if port < 10050]
    assert len(set(given_out)) == len(given_out)


def test_what_the_description_says_is_what_is_answered() -> None:
    def attack(framework: Framework, runner: asyncio.Runner) -> None:
        document = runner.run(framework.call("GET", "/v2/openapi.json")).json
        # Abdication ends the test's framework, and the event stream does not end.
        del (
            document["paths"]["/v2/leader"]["delete"],
            document["paths"]["/v2/events"],
            document["paths"]["/logging"]["post"],
        )
        schema = schemathesis.openapi.from_dict(document)
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(
                max_examples=max(2, EXAMPLES // 200),
                phases=(Phase.generate,),
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def conforms(case: schemathesis.Case) -> None:
                response = runner.run(_in_thread(lambda: case.call(base_url=framework.url, timeout=60)))
                assert response.status_code < 500 or response.status_code == 503, response.text
                case.validate_response(response, checks=[status_code_conformance, response_schema_conformance])

            conforms()

    with_framework(attack)


def _in_thread(call: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
    """The framework runs in this thread's loop, which has to turn while the request waits."""
    return asyncio.to_thread(call)
