"""Fetched URIs: copied, downloaded, unpacked, cached; and nothing that an archive holds gets out of the sandbox."""

import asyncio
import contextlib
import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from embedded.mesos.archives import ArchiveError, unpack
from embedded.mesos.fetcher import Fetcher, FetchError, FetcherSettings, local_path, target_of


@pytest.fixture
def sandbox(tmp_path):
    path = tmp_path / "sandbox"
    path.mkdir()
    return path


@pytest.fixture
def fetcher(tmp_path):
    return Fetcher(tmp_path / "cache", FetcherSettings(timeout=60))


@pytest.fixture
async def server():
    """(its URL, the paths that were asked for, the files it has)"""
    asked: list[str] = []
    files: dict[str, bytes] = {}

    async def answer(request):
        asked.append(request.path)
        if request.path not in files:
            return web.Response(status=404)
        return web.Response(body=files[request.path])

    runner = web.AppRunner(handler := web.Application())
    handler.router.add_get("/{path:.*}", answer)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", asked, files
    await runner.cleanup()


def tar_of(*members: tuple[str, object], mode: str = "w:gz") -> bytes:
    """(name, bytes), (name, "->target") for a link, (name, "=target") for a hard link, (name, None) for a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(content, str):
                info.type = tarfile.SYMTYPE if content.startswith("->") else tarfile.LNKTYPE
                info.linkname = content.removeprefix("->").removeprefix("=")
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def test_files_of_this_machine_are_copied(fetcher, sandbox, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    await fetcher.fetch(
        [
            {"value": str(tmp_path / "a.txt")},
            {"value": f"file://{tmp_path}/run.sh", "executable": True},
            {"value": str(tmp_path / "a.txt"), "output_file": "sub/b.txt"},
        ],
        sandbox,
    )
    assert (sandbox / "a.txt").read_text() == "a" == (sandbox / "sub" / "b.txt").read_text()
    assert stat.S_IMODE((sandbox / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((sandbox / "a.txt").stat().st_mode) == 0o644


async def test_downloads_and_unpacks_by_name(fetcher, sandbox, server):
    url, _, files = server
    files["/app.tgz"] = tar_of(("app/run", b"x"), ("app/link", "->run"))
    files["/words.gz"] = gzip.compress(b"words")
    files["/kept.tar.gz"] = tar_of(("never", b"x"))
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as made:
            made.writestr("z/file", "zipped")
        files["/z.zip"] = buffer.getvalue()
    uris = [{"value": f"{url}/app.tgz?version=1"}, {"value": f"{url}/words.gz"}, {"value": f"{url}/z.zip"}]
    await fetcher.fetch([*uris, {"value": f"{url}/kept.tar.gz", "extract": False}], sandbox)
    assert (sandbox / "app" / "link").read_text() == "x"
    assert os.access(sandbox / "app" / "run", os.X_OK)
    assert (sandbox / "words").read_text() == "words"
    assert (sandbox / "z" / "file").read_text() == "zipped"
    assert not (sandbox / "never").exists()


async def test_a_cached_file_is_downloaded_once_for_many_tasks(fetcher, tmp_path, server):
    url, asked, files = server
    files["/f.txt"], files["/a.tgz"] = b"once", tar_of(("inside", b"x"))
    boxes = [tmp_path / f"box{n}" for n in range(5)]
    for box in boxes:
        box.mkdir()
    uris = [{"value": f"{url}/f.txt", "cache": True}, {"value": f"{url}/a.tgz", "cache": True}]
    await asyncio.gather(*(fetcher.fetch(uris, box) for box in boxes))
    assert sorted(asked) == ["/a.tgz", "/f.txt"]
    assert all((box / "f.txt").read_bytes() == b"once" and (box / "inside").exists() for box in boxes)
    assert not (boxes[0] / "a.tgz").exists(), "a cached archive stays in the cache"


async def test_the_cache_is_bounded(tmp_path, sandbox, server):
    url, asked, files = server
    fetcher = Fetcher(tmp_path / "cache", FetcherSettings(cache_bytes=250))
    for name in "abc":
        files[f"/{name}"] = name.encode() * 100
        await fetcher.fetch([{"value": f"{url}/{name}", "cache": True}], sandbox)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 250
    await fetcher.fetch([{"value": f"{url}/a", "cache": True}], sandbox)
    assert asked.count("/a") == 2, "what was not used for longest has gone"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ({"value": "/no/such/file"}, "No such file or directory"),
        ({"value": "/dev/zero"}, "not a regular file"),
        ({"value": "relative/file"}, "neither a URL nor an absolute path"),
        ({"value": "s3://bucket/x"}, "this agent fetches"),
        ({"value": "http://127.0.0.1:1/x"}, "Cannot connect"),
        ({"value": "/etc/hostname", "output_file": "../x"}, "not a path within the sandbox"),
        ({"value": "/etc/hostname", "output_file": "/abs"}, "not a path within the sandbox"),
        ({"value": "http://127.0.0.1:1"}, "no file name"),
    ],
)
async def test_what_cannot_be_fetched_says_why(fetcher, sandbox, uri, words):
    with pytest.raises(FetchError, match="Failed to fetch") as error:
        await fetcher.fetch([uri], sandbox)
    assert words in str(error.value)


async def test_a_missing_page_and_too_large_a_file_say_so(tmp_path, sandbox, server):
    url, _, files = server
    files["/big"] = b"x" * 1001
    fetcher = Fetcher(tmp_path / "cache", FetcherSettings(most_bytes=1000))
    with pytest.raises(FetchError, match="HTTP status 404"):
        await fetcher.fetch([{"value": f"{url}/none"}], sandbox)
    with pytest.raises(FetchError, match="more than 1000 bytes"):
        await fetcher.fetch([{"value": f"{url}/big"}], sandbox)


async def test_a_server_that_falls_silent_is_given_up(tmp_path, sandbox):
    async def begin(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    fetcher = Fetcher(tmp_path / "cache", FetcherSettings(timeout=0.3))
    async with server:
        with pytest.raises(FetchError):
            await fetcher.fetch([{"value": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/f"}], sandbox)


HOSTILE = {
    "dots": tar_of(("../escaped", b"x")),
    "absolute": tar_of(("/tmp/dromos-escaped", b"x")),
    "link up": tar_of(("out", "->.."), ("out/escaped", b"x")),
    "absolute link": tar_of(("out", "->/tmp"), ("out/dromos-escaped", b"x")),
    "link in two steps": tar_of(("d/e", None), ("x", "->d/e"), ("y", "->x/../../.."), ("y/escaped", b"x")),
    "hard link": tar_of(("shadow", "=/etc/hostname")),
    "hard link up": tar_of(("shadow", "=../secret")),
    "device": None,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_archive_writes_outside_or_links_to_the_outside(name, sandbox, tmp_path):
    (tmp_path / "secret").write_text("secret")
    archive = tmp_path / "archive.tgz"
    if name == "device":
        with tarfile.open(archive, "w:gz") as tar:
            info = tarfile.TarInfo("null")
            info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
            tar.addfile(info)
    else:
        archive.write_bytes(HOSTILE[name])
    with pytest.raises(ArchiveError):
        unpack(archive, sandbox, 10**6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tgz", "sandbox", "secret"]
    assert not Path("/tmp/dromos-escaped").exists()


def test_a_link_that_changes_its_meaning_is_not_written_through(sandbox, tmp_path):
    """`x` is fine when it is made, and leads out once `d/e` has become a link."""
    members = [("d/e", None), ("x", "->d/e/.."), ("d/e", "->."), ("x/../../escaped", b"x")]
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of(*members, mode="w"))
    with pytest.raises(ArchiveError):
        unpack(archive, sandbox, 10**6)
    assert not (tmp_path / "escaped").exists()


def test_a_zip_with_dots_and_links_is_refused(sandbox, tmp_path):
    link = zipfile.ZipInfo("out")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for number, members in enumerate(([("../escaped", "x")], [(link, "/etc")])):
        archive = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(archive, "w") as made:
            for name, content in members:
                made.writestr(name, content)
        with pytest.raises(ArchiveError):
            unpack(archive, sandbox, 10**6)
    assert list(sandbox.iterdir()) == []


def test_a_small_archive_with_a_huge_file_is_given_up(sandbox, tmp_path):
    archive = tmp_path / "bomb.gz"
    archive.write_bytes(gzip.compress(b"\0" * 5_000_000))
    with pytest.raises(ArchiveError, match="more than 1000000 bytes"):
        unpack(archive, sandbox, 1_000_000)
    assert (sandbox / "bomb").stat().st_size <= 1_000_000


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip", "a.gz", "a.tar.xz", "a.tbz2"])
def test_what_is_no_archive_says_so(name, sandbox, tmp_path):
    (tmp_path / name).write_bytes(b"not an archive at all")
    with pytest.raises(ArchiveError, match=f"'{name}' cannot be unpacked"):
        unpack(tmp_path / name, sandbox, 10**6)


NAMES = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
MEMBERS = st.lists(
    st.tuples(
        NAMES.filter(bool), st.one_of(st.none(), st.just(b"x"), NAMES.map("->{}".format), NAMES.map("={}".format))
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(MEMBERS)
def test_whatever_an_archive_holds_the_world_around_the_sandbox_stays_as_it_is(tmp_path_factory, members):
    top = tmp_path_factory.mktemp("archive")
    sandbox = top / "deep" / "sandbox"
    sandbox.mkdir(parents=True)
    (top / "deep" / "b").write_text("outside")
    (top / "archive.tar").write_bytes(tar_of(*members, mode="w"))
    with contextlib.suppress(ArchiveError, OSError):
        unpack(top / "archive.tar", sandbox, 10**6)
    assert sorted(path.name for path in top.iterdir()) == ["archive.tar", "deep"]
    assert sorted(path.name for path in (top / "deep").iterdir()) == ["b", "sandbox"]
    assert (top / "deep" / "b").read_text() == "outside"
    assert (top / "deep" / "b").stat().st_nlink == 1


@pytest.mark.parametrize(
    ("uri", "path"),
    [("/a/b", "/a/b"), ("file:///a%20b", "/a b"), ("file://localhost/a", "/a"), ("https://h/x", None)],
)
def test_local_paths(uri, path):
    assert local_path(uri) == (Path(path) if path else None)


def test_the_name_in_the_sandbox_is_the_last_part_of_the_path(sandbox):
    assert target_of({"value": "http://h/a/b.tgz?x=/y#z"}, sandbox) == sandbox / "b.tgz"
    assert target_of({"value": "/a/b c"}, sandbox) == sandbox / "b c"


def test_an_output_path_through_a_link_out_of_the_sandbox_is_refused(sandbox, tmp_path):
    (sandbox / "out").symlink_to(tmp_path)
    with pytest.raises(FetchError, match="leads out of the sandbox"):
        target_of({"value": "/a/b", "output_file": "out/file"}, sandbox)
