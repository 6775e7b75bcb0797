"""Strings that need no escaping where they stand bare, since they were made for it. Every operation on them gives a plain string."""


class Rendered(str):
    """Text that a template has made: the result of a macro, or a block that was set. Escaped already, for the template's own syntax."""

    __slots__ = ()


class Formatted(str):
    """Text in a format that is itself a syntax, such as the result of `to_json`."""

    syntaxes: frozenset[str]

    def __new__(cls, text: str, *syntaxes: str) -> "Formatted":
        made = super().__new__(cls, text)
        made.syntaxes = frozenset(syntaxes)
        return made

    def like(self, text: str) -> "Formatted":
        return Formatted(text, *self.syntaxes)
