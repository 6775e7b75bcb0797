"""`go` in Jinja2 templates: what Go does and Jinja2 does otherwise, for converted templates whose types are not known."""

from typing import Any
from urllib.parse import quote_plus

from consul_template_py.gotemplate import values
from consul_template_py.gotemplate.functions import PURE


class GoHelpers:
    """`go.text(x)` prints as Go does, `go.field(x, "Name")` finds a field by Go's name, and so on."""

    field = staticmethod(values.field)
    index = staticmethod(values.index)
    slice = staticmethod(values.sliced)
    len = staticmethod(values.length)
    eq = staticmethod(values.equal)
    lt = staticmethod(values.less)
    text = staticmethod(values.text)
    printf = staticmethod(values.sprintf)
    print = staticmethod(PURE["print"])
    println = staticmethod(PURE["println"])
    html = staticmethod(PURE["html"])
    js = staticmethod(PURE["js"])

    @staticmethod
    def is_true(value: Any) -> bool:
        return values.is_true(value)

    @staticmethod
    def urlquery(*arguments: Any) -> str:
        return quote_plus(PURE["print"](*arguments))

    @staticmethod
    def values(value: Any) -> tuple[Any, ...]:
        """What `range` goes over: the items of a list, the values of a map by its sorted keys."""
        found, pairs = values.items(value)
        return tuple(item for _, item in found) if pairs else found

    @staticmethod
    def pairs(value: Any) -> tuple[tuple[Any, Any], ...]:
        """What `range $k, $v` goes over: keys and values, or indexes and items."""
        found, pairs = values.items(value)
        return tuple((key, item) for key, item in found) if pairs else tuple(enumerate(found))
