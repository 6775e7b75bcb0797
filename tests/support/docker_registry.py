"""A registry of Docker images in memory, just large enough to pull one image from, with or without a password."""

import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.docker import root_filesystem

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Registry:
    """`images` maps `name:tag` to a version, which the image has in the variable VERSION. `pulls` are the manifests asked for."""

    password: str | None = None
    images: dict[str, str] = field(default_factory=dict)
    pulls: list[str] = field(default_factory=list)
    port: int = 0
    _blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.password and not self._allowed(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        path = request.path.removeprefix("/v2/")
        if not path:
            return web.json_response({})
        name, kind, reference = path.rsplit("/", 2)
        if kind == "blobs" and reference in self._blobs:
            return web.Response(body=self._blobs[reference])
        known = self._blobs.get(reference) or self._manifest(f"{name}:{reference}")
        if kind == "manifests" and known:
            if request.method == "GET":
                self.pulls.append(f"{name}:{reference}")
            return web.Response(body=known, content_type=MANIFEST, headers={"Docker-Content-Digest": digest(known)})
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404)

    def _manifest(self, image: str) -> bytes | None:
        if image not in self.images:
            return None
        layer = root_filesystem()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin", f"VERSION={self.images[image]}"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
        parts = {CONFIG: json.dumps(config).encode(), LAYER: gzip.compress(layer, mtime=0)}
        described = {
            kind: {"mediaType": kind, "size": len(part), "digest": digest(part)} for kind, part in parts.items()
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described[CONFIG],
            "layers": [described[LAYER]],
        }
        body = json.dumps(manifest).encode()
        self._blobs |= {digest(part): part for part in (*parts.values(), body)}
        return body

    def _allowed(self, request: web.Request) -> bool:
        return (
            request.headers.get("Authorization")
            == f"Basic {base64.b64encode(f'user:{self.password}'.encode()).decode()}"
        )


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@asynccontextmanager
async def docker_registry(password: str | None = None) -> AsyncIterator[Registry]:
    registry = Registry(password)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.port = runner.addresses[0][1]
    try:
        yield registry
    finally:
        await runner.cleanup()
