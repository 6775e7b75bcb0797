"""Parses a Go template into its tree (text/template/parse/parse.go)."""

import re
from collections.abc import Collection

from consul_template_py.errors import TemplateError
from consul_template_py.gotemplate import nodes as n
from consul_template_py.gotemplate.lexer import Token, lex

_KEYWORDS = {"if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}


def parse(source: str, name: str, functions: Collection[str], *, left: str = "{{", right: str = "}}") -> n.Parsed:
    """Raises TemplateError with file and line."""
    return _Parser(list(lex(source, name, left, right)), name, functions).parse()


class _Parser:
    def __init__(self, tokens: list[Token], name: str, functions: Collection[str]) -> None:
        self._tokens, self._at, self._name = tokens, 0, name
        self._functions = functions
        self._defined: dict[str, n.Body] = {}
        self._variables: list[str] = [""]  # "$" is always there
        self._loops = 0

    def parse(self) -> n.Parsed:
        body, end = self._body(())
        assert end == ""
        return n.Parsed(body, self._defined)

    # bodies

    def _body(self, ends: tuple[str, ...]) -> tuple[n.Body, str]:
        """Nodes up to one of the keywords `ends`, whose action has then been begun; "" at the end of the file."""
        made: list[n.Node] = []
        while True:
            token = self._next()
            if token.kind == "text":
                if token.text:
                    made.append(n.Text(token.text))
                if self._at == len(self._tokens):
                    if ends:
                        raise self._error(token, f"unexpected end of the template: {' or '.join(ends)} is missing")
                    return tuple(made), ""
                continue
            assert token.kind == "begin"
            self._space()
            word = self._peek()
            keyword = word.text if word.kind == "word" and word.text in _KEYWORDS else ""
            if keyword in ends:
                self._next()
                return tuple(made), keyword
            if keyword in ("else", "end"):
                raise self._error(word, f"unexpected {keyword}")
            if keyword:
                self._next()
            node = self._statement(keyword, word)
            if node is not None:
                made.append(node)

    def _statement(self, keyword: str, word: Token) -> n.Node | None:
        if keyword in ("if", "with", "range"):
            return self._control(keyword, word.line)
        if keyword in ("break", "continue"):
            if not self._loops:
                raise self._error(word, f"{keyword} outside of range")
            self._end()
            return n.Break(word.line) if keyword == "break" else n.Continue(word.line)
        if keyword == "define":
            self._define(self._string())
            return None
        if keyword == "template":
            name = self._string()
            self._space()
            pipeline = None if self._peek().kind == "end" else self._pipeline(word)
            self._end()
            return n.Call(name, pipeline, word.line)
        if keyword == "block":
            name = self._string()
            pipeline = self._pipeline(word)
            self._define(name)
            return n.Call(name, pipeline, word.line)
        pipeline = self._pipeline(word)
        self._end()
        return n.Action(pipeline, word.line)

    def _control(self, keyword: str, line: int) -> n.If | n.With | n.Range:
        outer = len(self._variables)
        pipeline = self._pipeline(self._peek(), many=keyword == "range")
        self._end()
        self._loops += keyword == "range"
        body, end = self._body(("else", "end"))
        self._loops -= keyword == "range"
        otherwise: n.Body = ()
        if end == "else":
            self._space()
            following = self._peek()
            if following.kind == "word" and following.text == keyword and keyword in ("if", "with"):
                self._next()  # `else if`: an `if` that shares our `end`
                otherwise = (self._control(keyword, following.line),)
                del self._variables[outer:]
                return (n.If if keyword == "if" else n.With)(pipeline, body, otherwise, line)
            self._end()
            otherwise, _ = self._body(("end",))
        self._end()
        del self._variables[outer:]
        if keyword == "if":
            return n.If(pipeline, body, otherwise, line)
        return (n.With if keyword == "with" else n.Range)(pipeline, body, otherwise, line)

    def _define(self, name: str) -> None:
        self._end()
        outer, self._variables = self._variables, [""]
        loops, self._loops = self._loops, 0
        body, _ = self._body(("end",))
        self._end()
        self._variables, self._loops = outer, loops
        self._defined[name] = body

    # pipelines

    def _pipeline(self, where: Token, *, many: bool = False) -> n.Pipeline:
        """`many`: two variables may be declared, as `range` does. Up to the end of the action or a closing parenthesis."""
        self._space()
        declares, assigns = self._declaration(many)
        commands = [self._command()]
        while self._peek().kind == "pipe":
            self._next()
            self._space()
            commands.append(self._command())
        for command in commands[1:]:
            if isinstance(command.words[0], n.Literal):
                raise self._error(where, "a constant cannot take what is piped into it")
        if not assigns:
            self._variables += declares
        return n.Pipeline(tuple(commands), declares, assigns)

    def _declaration(self, many: bool) -> tuple[tuple[str, ...], bool]:
        start = self._at
        names: list[str] = []
        while self._peek().kind == "variable":
            names.append(self._next().text[1:])
            self._space()
            following = self._peek()
            if following.kind in ("declare", "assign"):
                self._next()
                self._space()
                if following.kind == "assign":
                    for name in names:
                        self._known(name, following)
                return tuple(names), following.kind == "assign"
            if following.kind != "comma" or not many or len(names) > 1:
                break
            self._next()
            self._space()
        self._at = start
        return (), False

    def _command(self) -> n.Command:
        line = self._peek().line
        words: list[n.Word] = []
        while True:
            self._space()
            token = self._peek()
            if token.kind in ("end", "pipe", "close"):
                break
            words.append(self._operand())
            following = self._peek().kind
            if following not in ("space", "end", "pipe", "close"):
                raise self._error(self._peek(), f"unexpected {self._peek().text!r} after an operand")
        if not words:
            raise self._error(self._peek(), "missing value")
        return n.Command(tuple(words), line)

    def _operand(self) -> n.Word:
        word = self._term()
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        if not names:
            return word
        if isinstance(word, n.Literal):
            raise self._error(self._peek(), "a constant has no fields")
        if isinstance(word, n.Fields):
            return n.Fields(word.of, word.names + tuple(names))
        return n.Fields(word, tuple(names))

    def _term(self) -> n.Word:
        token = self._next()
        if token.kind == "field":
            return n.Fields(n.Dot(), (token.text[1:],))
        if token.kind == "dot":
            return n.Dot()
        if token.kind == "variable":
            self._known(token.text[1:], token)
            return n.Variable(token.text[1:])
        if token.kind == "string":
            return n.Literal(self._unquoted(token))
        if token.kind == "char":
            return n.Literal(ord(_unescape(token.text[1:-1])))
        if token.kind == "number":
            return n.Literal(self._number(token))
        if token.kind == "open":
            pipeline = self._pipeline(token)
            if self._next().kind != "close":
                raise self._error(token, "unclosed parenthesis")
            return pipeline
        if token.kind == "word":
            if token.text in _CONSTANTS:
                return n.Literal(_CONSTANTS[token.text])
            if token.text not in self._functions:
                raise self._error(token, f"function {token.text!r} is not defined")
            return n.Function(token.text)
        raise self._error(token, f"unexpected {token.text!r}")

    # small things

    def _known(self, name: str, token: Token) -> None:
        if name not in self._variables:
            raise self._error(token, f"undefined variable ${name}")

    def _string(self) -> str:
        self._space()
        token = self._next()
        if token.kind != "string":
            raise self._error(token, f"a name in quotes is expected, not {token.text!r}")
        return self._unquoted(token)

    def _unquoted(self, token: Token) -> str:
        return token.text[1:-1] if token.text[0] == "`" else _unescape(token.text[1:-1])

    def _number(self, token: Token) -> int | float:
        text = token.text.replace("_", "")
        try:
            if text.lstrip("+-").startswith(("0x", "0X", "0b", "0B", "0o", "0O")):
                return int(text, 0)
            return int(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise self._error(token, f"bad number {token.text!r}") from None

    def _space(self) -> None:
        while self._peek().kind == "space":
            self._at += 1

    def _end(self) -> None:
        self._space()
        token = self._next()
        if token.kind != "end":
            raise self._error(token, f"unexpected {token.text!r}")

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _error(self, token: Token, what: str) -> TemplateError:
        return TemplateError(f"{self._name}:{token.line}: {what}")


_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
            if match[group]:
                return chr(int(match[group], base))
        return _SIMPLE.get(match[5], match[5])

    return _ESCAPE.sub(one, text)
