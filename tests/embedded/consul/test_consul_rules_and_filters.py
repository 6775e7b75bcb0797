"""The two small languages that clients write: ACL rules and filter expressions. No text may break them."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedded.consul import filter
from embedded.consul.errors import FailedError
from embedded.consul.state.rules import DENY, READ, WRITE, Authorizer, Rules, authorizer, parse_rules

names = st.text("ab/", max_size=5)
policies = st.sampled_from([DENY, READ, WRITE])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Rules()),
        ("# only a comment", Rules()),
        ('key "a" { policy = "read" }', Rules(exact={"key": {"a": READ}})),
        ('key_prefix "a/" { policy = "write" }', Rules(prefixes={"key": {"a/": WRITE}})),
        ('operator = "read" acl = "write"', Rules(unnamed={"operator": READ, "acl": WRITE})),
        ('"service" "web" {\n  "policy" = "deny"\n} // end', Rules(exact={"service": {"web": DENY}})),
        (
            '/* long\n comment */ node_prefix "" { policy = "read", intentions = "read" }',
            Rules(prefixes={"node": {"": READ}}),
        ),
        ('key "a\\"b" { policy = "read" }', Rules(exact={"key": {'a"b': READ}})),
        ('{"key": {"a": {"policy": "read"}}}', Rules(exact={"key": {"a": READ}})),
        (
            '{"key": [{"a": {"policy": "read"}}, {"b": {"policy": "deny"}}]}',
            Rules(exact={"key": {"a": READ, "b": DENY}}),
        ),
        ('bogus "x" { policy = "read" }', Rules()),
    ],
)
def test_rules_are_read(text: str, expected: Rules) -> None:
    assert parse_rules(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'key "a" {',
        'key "a"',
        "key",
        'key "a" { policy = }',
        "}",
        'key "a" { policy = "x" }',
        "operator = 1",
        "{",
        "[]",
        "=",
        '"',
        "é",
    ],
)
def test_rules_that_cannot_be_read_are_one_line(text: str) -> None:
    with pytest.raises(FailedError) as caught:
        parse_rules(text)
    assert "\n" not in caught.value.text


@given(st.text(st.sampled_from('key_prefix "{}=\\/*#\n[]:,read deny')))
@example("{" * 10_000)
@example('key "" {' * 5_000)
@example('{"key":' * 5_000)
def test_any_text_is_rules_or_is_refused(text: str) -> None:
    try:
        parse_rules(text)
    except FailedError as error:
        assert "\n" not in error.text


@given(st.dictionaries(names, policies), st.dictionaries(names, policies), names, st.booleans())
def test_the_exact_rule_decides_else_that_of_the_longest_prefix_else_the_default(
    exact: dict[str, str], prefixes: dict[str, str], name: str, default: bool
) -> None:
    blocks = [f'key "{key}" {{ policy = "{policy}" }}' for key, policy in exact.items()]
    blocks += [f'key_prefix "{key}" {{ policy = "{policy}" }}' for key, policy in prefixes.items()]
    decides = authorizer(["\n".join(blocks)], default)
    deciding = exact.get(name)
    for length in range(len(name), -1, -1):
        if deciding is None:
            deciding = prefixes.get(name[:length])
    assert decides.allow("key", "read", name) is (default if deciding is None else deciding in (READ, WRITE))
    assert decides.allow("key", "write", name) is (default if deciding is None else deciding == WRITE)
    assert decides.allow("service", "read", name) is default


@given(st.dictionaries(names, policies), st.dictionaries(names, policies), names, names, st.booleans())
def test_who_may_write_all_below_a_prefix_may_write_each_key_there(
    exact: dict[str, str], prefixes: dict[str, str], prefix: str, rest: str, default: bool
) -> None:
    decides = Authorizer(Rules(exact={"key": exact}, prefixes={"key": prefixes}), default)
    if decides.allow_below(prefix):
        assert decides.allow("key", "write", prefix + rest)


@given(st.lists(st.dictionaries(names, policies), max_size=4), names)
def test_of_several_policies_deny_goes_before_write_before_read(each: list[dict[str, str]], name: str) -> None:
    texts = ["".join(f'key "{key}" {{ policy = "{policy}" }}\n' for key, policy in rules.items()) for rules in each]
    decides = authorizer(texts, False)
    found = {rules[name] for rules in each if name in rules}
    assert decides.allow("key", "write", name) is (WRITE in found and DENY not in found)
    assert decides.allow("key", "read", name) is (bool(found) and DENY not in found)


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SERVICE: dict[str, Any] = {
    "Service": "web",
    "Tags": ["a", "b"],
    "Port": 80,
    "Meta": {"k": "v"},
    "EnableTagOverride": False,
}
values = st.sampled_from(["web", "a", "80", "v", "k", "true", "false", "-1", "`x y`", '"q"'])
matches = st.one_of(
    st.builds("Service {} {}".format, st.sampled_from(["==", "!="]), values),
    st.builds("{} {} Tags".format, values, st.sampled_from(["in", "not in"])),
    st.builds("Tags {}".format, st.sampled_from(["is empty", "is not empty"])),
    st.builds("Port {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(["80", "81"])),
    st.builds("Meta.k {} {}".format, st.sampled_from(["==", "!=", "matches", "not matches"]), values),
)
expressions = st.recursive(
    matches,
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("not ({})".format, inner),
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("({}) or ({})".format, inner, inner),
    ),
    max_leaves=8,
)


def picks(expression: str) -> bool:
    return bool(filter.compile_filter(expression, filter.SERVICE)(SERVICE))


@given(expressions, expressions)
def test_the_logic_of_expressions_is_that_of_their_parts(one: str, other: str) -> None:
    first, second = picks(one), picks(other)
    assert picks(f"not ({one})") is (not first)
    assert picks(f"({one}) and ({other})") is (first and second)
    assert picks(f"({one}) or ({other})") is (first or second)


@given(st.text(st.sampled_from('abW09 ."`()[]=!notandorinis\\\n'), max_size=40))
@example("(" * 10_000)
@example("not " * 10_000 + "Port == 80")
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    try:
        picks(text)
    except FailedError as error:
        assert error.text.startswith("Failed to create boolean expression evaluator: ")
