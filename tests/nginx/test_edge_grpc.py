"""gRPC goes through the edge: HTTP/2 without TLS on its port, to endpoints that speak nothing else."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nginx.model import Instance
from tests.support.processes import free_port, running
from tests.support.rig import rig
from tests.support.waiting import eventually_async

# To a proxy a gRPC server is an HTTP/2 server whose answers have a status of their own.
SERVER = """daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{
    listen 127.0.0.1:{port} http2;
    default_type application/grpc;
    add_header grpc-status 0;
    location / {{ return 200 "{name} $uri"; }}
  }}
}}
"""


@contextlib.contextmanager
def grpc_server(directory: Path, name: str) -> Iterator[int]:
    directory.mkdir()
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(SERVER.format(directory=directory, port=port, name=name))
    command = ["nginx", "-p", f"{directory}/", "-c", str(config), "-e", str(directory / "error.log")]
    with running(command, log=directory / "out.log"):
        yield port


def call(port: int, path: str) -> str:
    """Head and body of a call's answer."""
    command = [
        "curl",
        "-sSi",
        "--http2-prior-knowledge",
        "--max-time",
        "20",
        "-H",
        "Host: echo.test",
        "-H",
        "TE: trailers",
    ]
    command += ["-H", "Content-Type: application/grpc", "--data-binary", "x", f"http://127.0.0.1:{port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("target", ["nginx-lua", "nginx", "haproxy"])
async def test_calls_follow_the_endpoints(tmp_path: Path, target: str) -> None:
    with grpc_server(tmp_path / "one", "one") as one, grpc_server(tmp_path / "two", "two") as two:
        async with rig(tmp_path / "edge", target, grpc=True) as edge:
            meta = {"HAPROXY_0_VHOST": "echo.test", "DROMOS_EDGE_PROTOCOL": "grpc"}
            for port, name in ((one, "one"), (two, "two")):
                await edge.show(Instance("echo", "echo", "127.0.0.1", port, meta=meta))

                async def answered() -> str:
                    said = await asyncio.to_thread(call, edge.grpc_port, "/echo.Echo/Say")
                    return said if f"{name} /echo.Echo/Say" in said else ""  # noqa: B023

                said = await eventually_async(answered)
                assert said.startswith("HTTP/2 200")
                assert "grpc-status: 0" in said
