"""Reads nginx.conf as Nginx does: words, quotes, blocks. So that tests can say what a configuration means, not how it looks."""

from dataclasses import dataclass, field


@dataclass
class Directive:
    """`words[0]` is the name. `block` is None for a simple directive; `lua` is the text of a *_by_lua_block."""

    words: list[str]
    block: "list[Directive] | None" = None
    lua: str = ""

    @property
    def name(self) -> str:
        return self.words[0]

    def all(self, name: str) -> "list[Directive]":
        return [one for one in self.block or [] if one.name == name]


@dataclass
class _Reader:
    text: str
    at: int = 0
    words: list[str] = field(default_factory=list)

    def directives(self, *, nested: bool) -> list[Directive]:
        found: list[Directive] = []
        while True:
            token = self._token()
            if token is None:
                assert not nested and not self.words, "the end came too early"
                return found
            kind, value = token
            if kind == "word":
                self.words.append(value)
            elif kind == ";":
                assert self.words, "an empty directive"
                found.append(Directive(self.words))
                self.words = []
            elif kind == "{":
                words, self.words = self.words, []
                assert words, "a block without a name"
                if words[0].endswith("_by_lua_block"):
                    found.append(Directive(words, [], self._lua()))
                else:
                    found.append(Directive(words, self.directives(nested=True)))
            else:
                assert nested and not self.words, "a stray }"
                return found

    def _token(self) -> tuple[str, str] | None:
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char.isspace():
                self.at += 1
            elif char == "#":
                self.at = (text + "\n").index("\n", self.at)
            else:
                break
        if self.at >= len(text):
            return None
        char = text[self.at]
        if char in ";{}":
            self.at += 1
            return char, char
        return "word", self._quoted(char) if char in "\"'" else self._bare()

    def _quoted(self, mark: str) -> str:
        self.at += 1
        found = ""
        while self.text[self.at] != mark:
            if self.text[self.at] == "\\" and self.text[self.at + 1] in "\"'\\":
                self.at += 1
            found += self.text[self.at]
            self.at += 1
        self.at += 1
        assert self.text[self.at] in " \t\n;{)", f"junk after a quoted word: {self.text[self.at : self.at + 20]!r}"
        return found

    def _bare(self) -> str:
        start = self.at
        while not self.text[self.at].isspace() and self.text[self.at] not in ";{":
            # a variable in braces belongs to the word
            if self.text.startswith("${", self.at):
                self.at = self.text.index("}", self.at)
            self.at += 1
        return self.text[start : self.at]

    def _lua(self) -> str:
        """Up to the closing brace, strings and nested tables understood."""
        start, depth = self.at, 1
        while depth:
            char = self.text[self.at]
            if char in "\"'":
                self._skip_lua_string(char)
                continue
            depth += {"{": 1, "}": -1}.get(char, 0)
            self.at += 1
        return self.text[start : self.at - 1].strip()

    def _skip_lua_string(self, mark: str) -> None:
        self.at += 1
        while self.text[self.at] != mark:
            self.at += 2 if self.text[self.at] == "\\" else 1
        self.at += 1


def parse(text: str) -> Directive:
    """The whole file as one directive with the name ""."""
    return Directive([""], _Reader(text).directives(nested=False))


def names_at(directive: Directive, path: str = "") -> set[str]:
    """Every directive as `http/server/location/set`."""
    found = set()
    for one in directive.block or []:
        where = f"{path}/{one.name}" if path else one.name
        found.add(where)
        if not one.lua:
            found |= names_at(one, where)
    return found
