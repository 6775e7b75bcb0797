"""Neighbours that ask who is there: a Consul with access lists, a Marathon with passwords."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.support.consul import running_real_consul
from tests.support.marathon import Marathon
from tests.support.registrator import Registrator
from tests.support.waiting import eventually

TOKEN = "4ac6e5c2-0d8e-4d4e-9f4e-3c1f6c2b5a10"
ACL = f'acl {{ enabled = true default_policy = "deny" tokens {{ master = "{TOKEN}" agent = "{TOKEN}" }} }}'


class GuardedMarathon(Marathon):
    def _answer(self, request: Request, content: object) -> Response:
        wanted = "Basic " + base64.b64encode(b"reader:pass:word").decode()
        if request.headers.get("authorization") != wanted:
            return Response(b"{}", status_code=401)
        return super()._answer(request, content)


@pytest.fixture
def marathon() -> Iterator[Marathon]:
    with GuardedMarathon().serving() as api:
        api.put_app("/web")
        api.put_task("/web", ports=[31001])
        yield api


def test_a_token_and_a_password_open_the_doors_and_without_them_it_says_which_is_shut(
    marathon: Marathon, registrator: Callable[..., Registrator], tmp_path: Path
) -> None:
    with running_real_consul(tmp_path, hcl=ACL, token=TOKEN) as consul:
        common: dict[str, Any] = {"sources": ["framework"], "marathon": [marathon.url], "consul": consul.url}
        without_password = registrator(ready=False, **common)
        eventually(lambda: "401" in without_password.health().json()["parts"]["framework"]["why"])
        # Consul shows those who may not read an empty list, and refuses to write.
        without_token = registrator(ready=False, **common, marathon_credentials="reader:pass:word")
        eventually(lambda: any("403" in why for why in without_token.status()["refused"].values()))
        assert consul.http.get("agent/services").json() == {}
        opened = registrator(process=True, **common, marathon_credentials="reader:pass:word", consul_token=TOKEN)
        (service,) = eventually(lambda: consul.http.get("agent/services").json().values())
        assert service["Port"] == 31001
        shown = opened.log.read_text() + str(opened.status()) + opened.health().text
        assert "pass:word" not in shown and TOKEN not in shown
