"""What consul-template's functions, methods and structs are called in Jinja2, and the types that they give."""

from dataclasses import dataclass

from consul_template_py.query import (
    CaRoot,
    Check,
    KeyPair,
    Node,
    NodeService,
    NodeWithServices,
    ServiceInstance,
    ServiceSummary,
)
from consul_template_py.query.vault import Secret

# Types: "str", "int", "bool", "any", a struct's name, "list:T", "map:T".
STRUCTS = {
    "instance": ServiceInstance,
    "summary": ServiceSummary,
    "check": Check,
    "node": Node,
    "node_services": NodeWithServices,
    "node_service": NodeService,
    "pair": KeyPair,
    "secret": Secret,
    "ca_root": CaRoot,
}
FIELD_TYPES = {
    "Port": "int",
    "Tags": "list:str",
    "ServiceMeta": "map:str",
    "NodeMeta": "map:str",
    "Meta": "map:str",
    "NodeTaggedAddresses": "map:str",
    "TaggedAddresses": "map:str",
    "ServiceTaggedAddresses": "any",
    "Checks": "list:check",
    "Services": "list:node_service",
    "Data": "any",
    "Weights": "any",
    "CreateIndex": "int",
    "ModifyIndex": "int",
    "LockIndex": "int",
    "Flags": "int",
    "LeaseDuration": "int",
    "Renewable": "bool",
    "Active": "bool",
}


@dataclass(frozen=True)
class As:
    """How a function is written in Jinja2. `value_last`: Go gives the value last, where a Jinja2 filter has it first."""

    name: str
    type: str = "str"
    value_last: bool = False


FUNCTIONS: dict[str, As] = {
    "base64Decode": As("base64_decode"),
    "base64Encode": As("base64_encode"),
    "base64URLDecode": As("base64_url_decode"),
    "base64URLEncode": As("base64_url_encode"),
    "byKey": As("by_key", "map:map:pair"),
    "byMeta": As("by_meta", "map:list:instance", True),
    "byPort": As("by_port", "map:list:instance"),
    "byTag": As("by_tag", "map:list:any"),
    "caRoots": As("ca_roots", "list:ca_root"),
    "config": As("config", "any"),
    "connect": As("connect", "list:instance"),
    "contains": As("contains", "bool", True),
    "containsAll": As("contains_all", "bool", True),
    "containsAny": As("contains_any", "bool", True),
    "containsNone": As("contains_none", "bool", True),
    "containsNotAll": As("contains_not_all", "bool", True),
    "datacenters": As("datacenters", "list:str"),
    "divide": As("divide", "any", True),
    "add": As("add", "any", True),
    "subtract": As("subtract", "any", True),
    "multiply": As("multiply", "any", True),
    "modulo": As("modulo", "int", True),
    "minimum": As("minimum", "any", True),
    "maximum": As("maximum", "any", True),
    "env": As("env"),
    "envOrDefault": As("env_or_default"),
    "explode": As("explode", "any"),
    "explodeMap": As("explode_map", "any"),
    "file": As("file"),
    "hmacSHA256Hex": As("hmac_sha256_hex"),
    "in": As("contains", "bool"),
    "join": As("join", "str", True),
    "key": As("key"),
    "keyExists": As("key_exists", "bool"),
    "keyOrDefault": As("key_or_default"),
    "loop": As("range", "list:int"),
    "ls": As("ls", "list:pair"),
    "md5sum": As("md5"),
    "mergeMap": As("merge_map", "any"),
    "mergeMapWithOverride": As("merge_map_with_override", "any"),
    "mustEnv": As("must_env"),
    "node": As("node", "node_services"),
    "nodes": As("nodes", "list:node"),
    "parseBool": As("parse_bool", "bool"),
    "parseFloat": As("parse_float", "any"),
    "parseInt": As("parse_int", "int"),
    "parseJSON": As("parse_json", "any"),
    "parseUint": As("parse_uint", "int"),
    "parseYAML": As("parse_yaml", "any"),
    "print": As("go.print"),
    "printf": As("go.printf"),
    "println": As("go.println"),
    "html": As("go.html"),
    "js": As("go.js"),
    "urlquery": As("go.urlquery"),
    "slice": As("go.slice", "any"),
    "regexMatch": As("regex_match", "bool", True),
    "regexReplaceAll": As("regex_replace_all", "str", True),
    "replaceAll": As("replace_all", "str", True),
    "safeLs": As("safe_ls", "list:pair"),
    "safeTree": As("safe_tree", "list:pair"),
    "secret": As("secret", "secret"),
    "secrets": As("secrets", "list:str"),
    "service": As("service", "list:instance"),
    "services": As("services", "list:summary"),
    "sha256Hex": As("sha256_hex"),
    "sockaddr": As("sockaddr"),
    "split": As("split", "list:str", True),
    "splitToMap": As("split_to_map", "map:str", True),
    "toJSON": As("to_json"),
    "toJSONPretty": As("to_json_pretty"),
    "toLower": As("to_lower"),
    "toTOML": As("to_toml"),
    "toTitle": As("to_title"),
    "toUpper": As("to_upper"),
    "toYAML": As("to_yaml"),
    "tree": As("tree", "list:pair"),
    "trim": As("trim", "str", True),
    "trimLeft": As("trim_left", "str", True),
    "trimPrefix": As("trim_prefix", "str", True),
    "trimRight": As("trim_right", "str", True),
    "trimSpace": As("trim_space"),
    "trimSuffix": As("trim_suffix", "str", True),
    "zchildren": As("zchildren", "list:str"),
    "znode": As("znode"),
    "znodeOrDefault": As("znode_or_default"),
}
SCRATCH = {
    "Key": "key",
    "Get": "get",
    "Set": "set",
    "SetX": "set_x",
    "MapSet": "map_set",
    "MapSetX": "map_set_x",
    "MapValues": "map_values",
}
TAG_METHODS = {
    "Contains": "contains",
    "ContainsAll": "contains_all",
    "ContainsAny": "contains_any",
    "ContainsNone": "contains_none",
    "ContainsNotAll": "contains_not_all",
}
RESERVED = frozenset(
    {
        "and", "or", "not", "in", "is", "if", "else", "for", "endfor", "true", "false", "none", "loop",
        "self", "super", "caller", "varargs", "kwargs", "go", "scratch",
    }
)  # fmt: skip

JINJA_NAMES = frozenset(known.name for known in FUNCTIONS.values()) | {
    "dict",
    "namespace",
    "cycler",
    "joiner",
    "range",
    "lipsum",
}
