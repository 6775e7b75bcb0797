"""/v1/kv: values, flags, prefixes, check-and-set, limits."""

import base64

import pytest

from tests.contract.consul.conftest import Api


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def test_a_value_comes_back_with_its_flags_and_indexes(api: Api) -> None:
    key = api.name("kv/key")
    assert await api.done(key, b"value", flags=42) is True
    reply = await api.get(key)
    (entry,) = reply.json
    index = entry["CreateIndex"]
    assert entry == {
        "LockIndex": 0,
        "Key": key.removeprefix("kv/"),
        "Flags": 42,
        "Value": b64(b"value"),
        "CreateIndex": index,
        "ModifyIndex": index,
    }
    assert reply.index == index


async def test_a_new_value_keeps_the_create_index_and_drops_the_flags(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1", flags=7)
    created = (await api.get(key)).json[0]["CreateIndex"]
    await api.done(key, b"2")
    (entry,) = (await api.get(key)).json
    assert (entry["Value"], entry["Flags"], entry["CreateIndex"]) == (b64(b"2"), 0, created)
    assert entry["ModifyIndex"] > created


async def test_the_same_value_again_is_no_change(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1", flags=7)
    before = (await api.get(key)).json
    await api.done(key, b"1", flags=7)
    assert (await api.get(key)).json == before


async def test_an_empty_value_is_null_and_present(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"")
    assert (await api.get(key)).json[0]["Value"] is None
    raw = await api.get(key, raw="")
    assert (raw.status, raw.body) == (200, b"")


async def test_a_raw_value_is_the_bytes_as_they_came(api: Api) -> None:
    key, value = api.name("kv/key"), bytes(range(256))
    await api.done(key, value)
    reply = await api.get(key, raw="")
    assert (reply.body, reply.headers["Content-Type"]) == (value, "text/plain")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_absent_key_is_not_found_and_has_an_index_to_wait_on(api: Api) -> None:
    reply = await api.get(api.name("kv/absent"))
    assert (reply.status, reply.body) == (404, b"")
    assert reply.index >= 1


@pytest.mark.parametrize("key", ["with space", "ünïcode/ключ", "a+b", "a%b", "a?b&c=d#e", "trailing/", "quote'\"<>"])
async def test_a_key_may_have_any_characters(api: Api, key: str) -> None:
    from yarl import URL

    prefix = api.name("odd") + "/"
    url = URL(f"{api.server.url}/v1/kv/{prefix}") / key.removesuffix("/")
    target = str(url) + ("/" if key.endswith("/") else "")
    async with api.session.put(URL(target, encoded=True), data=b"1") as answer:
        assert answer.status == 200
    assert (await api.get(f"kv/{prefix}", keys="")).json == [prefix + key]


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "18446744073709551616"])
@pytest.mark.parametrize("name", ["flags", "cas"])
async def test_a_number_that_is_none_is_refused(api: Api, name: str, bad: str) -> None:
    reply = await api.put(api.name("kv/key"), b"1", **{name: bad})
    assert reply.status == 500
    problem = "value out of range" if bad.startswith("18") else "invalid syntax"
    assert reply.text == f'strconv.ParseUint: parsing "{bad}": {problem}'


async def test_flags_have_64_bits(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1", flags=2**64 - 1)
    assert (await api.get(key)).json[0]["Flags"] == 2**64 - 1


async def test_a_value_may_have_512_kilobytes_and_no_more(api: Api) -> None:
    key = api.name("kv/key")
    assert await api.done(key, b"x" * 524_288) is True
    reply = await api.put(key, b"y" * 524_289)
    assert reply.status == 413
    assert reply.text.startswith("Request body(524289 bytes) too large, max size: 524288 bytes.")
    assert (await api.get(key, raw="")).body == b"x" * 524_288


# ── prefixes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def tree(api: Api, *keys: str) -> str:
    prefix = api.name("tree")
    for key in keys:
        await api.done(f"kv/{prefix}/{key}", key.encode())
    return prefix


async def test_recurse_gives_all_below_a_prefix_in_order(api: Api) -> None:
    prefix = await tree(api, "b", "a/2", "a/1", "a")
    found = (await api.get(f"kv/{prefix}/", recurse="")).json
    assert [entry["Key"] for entry in found] == [f"{prefix}/{key}" for key in ("a", "a/1", "a/2", "b")]
    assert [entry["Value"] for entry in found] == [b64(key) for key in (b"a", b"a/1", b"a/2", b"b")]


async def test_a_prefix_is_of_characters_not_of_path_segments(api: Api) -> None:
    prefix = await tree(api, "ab", "abc", "b")
    assert [it["Key"] for it in (await api.get(f"kv/{prefix}/ab", recurse="")).json] == [
        f"{prefix}/ab",
        f"{prefix}/abc",
    ]


@pytest.mark.parametrize(
    ("below", "separator", "expected"),
    [
        ("/", "", ["a", "a/1", "a/2", "b", "c/d/e"]),
        ("/", "/", ["a", "a/", "b", "c/"]),
        ("/a", "/", ["a", "a/"]),
        ("/a/", "/", ["a/1", "a/2"]),
        ("/c/", "/", ["c/d/"]),
        ("", "/", [""]),
    ],
)
async def test_keys_are_listed_up_to_the_separator(api: Api, below: str, separator: str, expected: list[str]) -> None:
    prefix = await tree(api, "b", "a/2", "a/1", "a", "c/d/e")
    params = {"keys": "", **({"separator": separator} if separator else {})}
    assert (await api.get(f"kv/{prefix}{below}", **params)).json == [f"{prefix}/{key}" for key in expected]


@pytest.mark.parametrize("params", [{"recurse": ""}, {"keys": ""}])
async def test_an_empty_prefix_is_not_found(api: Api, params: dict[str, str]) -> None:
    reply = await api.get(api.name("kv/none") + "/", **params)
    assert (reply.status, reply.body) == (404, b"")
    assert reply.index >= 1


async def test_keys_goes_before_recurse(api: Api) -> None:
    prefix = await tree(api, "a")
    assert (await api.get(f"kv/{prefix}", keys="", recurse="")).json == [f"{prefix}/a"]


async def test_delete_of_a_prefix_leaves_its_neighbours(api: Api) -> None:
    prefix = await tree(api, "a", "a/1", "ab", "b")
    assert (await api.delete(f"kv/{prefix}/a/", recurse="")).json is True
    assert (await api.get(f"kv/{prefix}/", keys="")).json == [f"{prefix}/{key}" for key in ("a", "ab", "b")]


# ── deleting, check-and-set ──────────────────────────────────────────────────────────────────────────────────────────


async def test_delete_is_true_whether_or_not_there_was_a_key(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    assert (await api.delete(key)).json is True
    assert (await api.get(key)).status == 404
    assert (await api.delete(key)).json is True


async def test_a_key_that_comes_again_is_new(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    first = (await api.get(key)).json[0]["CreateIndex"]
    await api.delete(key)
    await api.done(key, b"1")
    assert (await api.get(key)).json[0]["CreateIndex"] > first


async def test_cas_zero_creates_and_never_overwrites(api: Api) -> None:
    key = api.name("kv/key")
    assert await api.done(key, b"1", cas=0) is True
    assert await api.done(key, b"2", cas=0) is False
    assert (await api.get(key, raw="")).body == b"1"


async def test_cas_sets_only_at_the_index_it_was_read_at(api: Api) -> None:
    key = api.name("kv/key")
    assert await api.done(key, b"0", cas=5) is False
    await api.done(key, b"1")
    index = (await api.get(key)).json[0]["ModifyIndex"]
    assert await api.done(key, b"2", cas=index - 1) is False
    assert await api.done(key, b"2", cas=index) is True
    assert await api.done(key, b"3", cas=index) is False
    assert (await api.get(key, raw="")).body == b"2"


async def test_delete_with_cas(api: Api) -> None:
    key = api.name("kv/key")
    await api.done(key, b"1")
    index = (await api.get(key)).json[0]["ModifyIndex"]
    assert (await api.delete(key, cas=0)).json is False
    assert (await api.delete(key, cas=index - 1)).json is False
    assert (await api.delete(key, cas=index)).json is True
    assert (await api.delete(key, cas=index)).json is True  # it is gone, which is what was asked for
    assert (await api.get(key)).status == 404


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("DELETE", {"recurse": "", "cas": "1"}, "cas=1&recurse="),
        ("PUT", {"cas": "0", "acquire": "x"}, "acquire=x&cas=0"),
        ("PUT", {"release": "x", "acquire": "y"}, "acquire=y&release=x"),
    ],
)
async def test_options_that_exclude_each_other_are_refused(
    api: Api, method: str, params: dict[str, str], told: str
) -> None:
    reply = await api.call(method, api.name("kv/key"), b"", **params)
    assert (reply.status, reply.text) == (400, f"Conflicting flags: {told}")
