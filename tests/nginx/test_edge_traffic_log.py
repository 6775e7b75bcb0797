"""Numbers of traffic from plain Nginx' access log: nothing is counted twice or lost over a rotation."""

import json
from pathlib import Path

from nginx.logfiles import rotate
from nginx.model import Service
from nginx.traffic import Traffic


def line(service: str = "web", status: int = 200, **more: object) -> str:
    fields = {"seconds": 0.02, "endpoint": "10.0.0.1:80", "endpoint_status": str(status), **more}
    return json.dumps({"service": service, "status": status, **fields}) + "\n"


def following(path: Path) -> Traffic:
    traffic = Traffic(path)
    traffic.services = {"web": Service("web", "/shop/web")}
    return traffic


def web(traffic: Traffic) -> dict[str, object]:
    traffic.look()
    found = traffic.json()["services"]
    assert isinstance(found, dict)
    return dict(found["web"])


def test_it_counts_from_the_end_of_the_log_on(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(line())
    traffic = following(path)
    assert web(traffic)["requests"] == {}
    with path.open("a") as log:
        log.write(line() + line(status=404) + line("other") + "no json\n" + line()[:30])
    assert web(traffic)["requests"] == {"2xx": 1, "4xx": 1}
    with path.open("a") as log:
        log.write(line()[30:])
    assert web(traffic)["requests"] == {"2xx": 2, "4xx": 1}


def test_each_try_counts_at_its_endpoint_and_the_page_for_no_endpoint_at_none(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    traffic = following(path)
    path.write_text(
        line(endpoint="10.0.0.1:80, 10.0.0.2:80", endpoint_status="502, 200")
        + line(status=503, endpoint="unix:/x/unavailable.sock", endpoint_status="503")
        + line(status=504, endpoint="10.0.0.2:80", endpoint_status="-")
    )
    traffic.look()
    assert web(traffic)["endpoints"] == {"10.0.0.1:80": {"5xx": 1}, "10.0.0.2:80": {"2xx": 1, "5xx": 1}}


def test_a_rotation_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("")
    traffic = following(path)
    with path.open("a") as old:
        old.write(line())
        old.flush()
        rotate(path, 2)
        assert web(traffic)["requests"] == {"2xx": 1}
        path.write_text(line(status=500))
        old.write(line())  # a worker that has not heard of it yet
        old.flush()
        assert web(traffic)["requests"] == {"2xx": 2}
    for _ in range(2):
        traffic.look()
    assert web(traffic)["requests"] == {"2xx": 2, "5xx": 1}


def test_seconds_fall_into_cumulative_buckets(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("")
    traffic = following(path)
    path.write_text(line(seconds=0.003) + line(seconds=0.3) + line(seconds=100) + line(status=101, seconds=3600))
    traffic.look()
    lines = [text for text in traffic.prometheus().decode().splitlines() if "_seconds_" in text and text[0] != "#"]
    found = {text.split('le="')[1].split('"')[0]: float(text.split()[-1]) for text in lines if "bucket" in text}
    assert (found["0.005"], found["0.25"], found["0.5"], found["60"], found["+Inf"]) == (1, 1, 2, 2, 3)
    assert [float(text.split()[-1]) for text in lines if "_sum" in text] == [100.303]
