"""Values from service names, tags, meta and KV are hostile: they are escaped for the syntax that they stand in, or refused. Pure.

A template declares its syntax. Its literal text is read as that syntax at compile time, so that for each expression it is known whether
it stands bare, inside a quoted string or in a comment; the value is then escaped for that very place. Where no escape exists (nginx
has none for `$`, nor for a `;` outside of quotes) the value is refused, and the refusal is reported. A value that needs neither passes
unchanged, so the rules cost well-behaved data nothing.
"""

from consul_template_py.escape.base import BARE, UNKNOWN, Place, RefusedValueError, Syntax, is_bare
from consul_template_py.escape.haproxy import Haproxy
from consul_template_py.escape.json import Json
from consul_template_py.escape.nginx import Nginx
from consul_template_py.escape.none import NoSyntax
from consul_template_py.escape.shell import Shell
from consul_template_py.escape.yaml import Yaml

SYNTAXES: dict[str, Syntax] = {
    syntax.name: syntax for syntax in (NoSyntax(), Nginx(), Haproxy(), Json(), Yaml(), Shell())
}

__all__ = ["BARE", "SYNTAXES", "UNKNOWN", "Place", "RefusedValueError", "Syntax", "is_bare"]
