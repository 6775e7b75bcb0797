"""No syntax: values are written as they are, as consul-template does."""

from consul_template_py.escape.base import BARE, Place, merged


class NoSyntax:
    name = "none"

    def advance(self, place: Place, text: str) -> Place:
        return BARE

    def after_value(self, place: Place) -> Place:
        return BARE

    def merge(self, one: Place, other: Place) -> Place:
        return merged(one, other)

    def escape(self, place: Place, value: object) -> str:
        return str(value)
