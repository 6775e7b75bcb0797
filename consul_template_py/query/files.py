"""`file("path")`: the text of a local file. None where there is none."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consul_template_py.query.base import Source


@dataclass(frozen=True, slots=True)
class FileQuery:
    source: ClassVar[Source] = "file"
    path: Path

    def decode(self, body: bytes) -> str:
        return body.decode("utf-8", "surrogateescape")

    def absent(self) -> str | None:
        return None

    def __str__(self) -> str:
        return f"file({self.path})"
