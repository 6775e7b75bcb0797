"""What compiled templates use in place of Jinja2's own: text that a template has made is marked as such."""

from typing import Any

from jinja2.runtime import Macro as JinjaMacro

from consul_template_py.escape.text import Rendered


class Macro(JinjaMacro):
    def _invoke(self, arguments: list[Any], autoescape: bool) -> str:
        return Rendered(super()._invoke(arguments, autoescape))


def identity(text: str) -> str:
    """Jinja2 applies `identity` to the text of a block that is assigned (`{% set x %}…{% endset %}`)."""
    return Rendered(text)
