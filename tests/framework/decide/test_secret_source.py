"""The source of a secret: which store, which path, which field; and whose it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.decide.secret_source import SecretError, Source, may_use, parse_source


@pytest.mark.parametrize(
    ("text", "default", "source"),
    [
        ("file:prod/db", None, Source("file", "prod/db")),
        ("consul:prod/db", "file", Source("consul", "prod/db")),
        ("vault:prod/db#password", None, Source("vault", "prod/db", "password")),
        ("vault:prod/db", None, Source("vault", "prod/db")),
        ("/prod/db", "vault", Source("vault", "prod/db")),
        ("prod/db#user", "vault", Source("vault", "prod/db", "user")),
        ("prod:db", "file", Source("file", "prod:db")),
    ],
)
def test_sources(text, default, source) -> None:
    assert parse_source(text, default) == source


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "prod/db",
            "file:",
            "file:/",
            "file:../etc/passwd",
            "file:a/../../b",
            "file:a//b",
            "file:./a",
            "vault:a#",
        ),
        *("file:a#b", "consul:a#b", "file:a\nb", "file:a\x00b", "file:..\\b", "file:" + "x" * 2000),
    ],
)
def test_what_is_no_source_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse_source(text, None)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab./:#\\\n\0", max_size=20))
def test_no_path_leaves_its_place(text: str) -> None:
    try:
        source = parse_source(text, "file")
    except SecretError:
        return
    assert not {"", ".", ".."} & set(source.path.split("/"))


@pytest.mark.parametrize(
    ("spec_id", "path", "allowed"),
    [
        ("/prod/web", "db", True),
        ("/prod/web", "prod/db", True),
        ("/prod/web", "prod/web/db", True),
        ("/prod/web", "dev/db", False),
        ("/prod/web", "prod/we/db", False),
        ("/production", "prod/db", False),
        ("/prod", "prod/web/db", False),
    ],
)
def test_an_app_uses_secrets_of_its_folder_and_of_those_above(spec_id: str, path: str, allowed: bool) -> None:
    assert may_use(spec_id, Source("file", path)) is allowed
