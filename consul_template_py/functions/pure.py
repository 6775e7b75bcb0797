"""The table of pure helpers, by the names that Jinja2 templates know; each is a function and a filter."""

from collections.abc import Callable
from typing import Any

from consul_template_py.functions import collections, formats, text
from consul_template_py.functions.sockaddr import sockaddr

HELPERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        collections.by_key,
        collections.by_meta,
        collections.by_port,
        collections.by_tag,
        collections.contains,
        collections.contains_all,
        collections.contains_any,
        collections.contains_none,
        collections.contains_not_all,
        collections.explode,
        collections.explode_map,
        collections.in_,
        collections.join,
        collections.loop,
        collections.merge_map,
        collections.merge_map_with_override,
        collections.split,
        collections.split_to_map,
        formats.parse_json,
        formats.parse_yaml,
        formats.to_json,
        formats.to_json_pretty,
        formats.to_toml,
        formats.to_yaml,
        sockaddr,
        text.add,
        text.base64_decode,
        text.base64_encode,
        text.base64_url_decode,
        text.base64_url_encode,
        text.divide,
        text.hmac_sha256_hex,
        text.indent,
        text.maximum,
        text.md5,
        text.minimum,
        text.modulo,
        text.multiply,
        text.parse_bool,
        text.parse_float,
        text.parse_int,
        text.parse_uint,
        text.regex_match,
        text.regex_replace_all,
        text.replace_all,
        text.sha256_hex,
        text.subtract,
        text.to_lower,
        text.to_title,
        text.to_upper,
        text.trim,
        text.trim_left,
        text.trim_prefix,
        text.trim_right,
        text.trim_space,
        text.trim_suffix,
    )
}
