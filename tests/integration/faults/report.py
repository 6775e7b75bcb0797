"""The table of faults."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured by make faults -->", "<!-- end of what make faults measured -->"
HEAD = (
    "Fault",
    "Mesos",
    "New leader after",
    "First write acknowledged after",
    "Converged after the mend",
    "Writes acknowledged",
    "… and lost",
    "Wanted tasks killed",
    "Doubles",
    "Edge requests failed",
)


@dataclass(frozen=True)
class Row:
    """Seconds from the fault: `leader` until another node says that it leads (None: none did), `write` until the first write was
    acknowledged that a user sent after it. `converged` from the end of the fault."""

    mesos: str
    fault: str
    leader: float | None
    write: float | None
    converged: float | None
    acknowledged: int
    lost: list[str]
    killed: list[str]
    doubles: dict[str, int]
    requests: int
    failed: int

    @property
    def is_good(self) -> bool:
        return self.converged is not None and not (self.lost or self.killed or self.doubles)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def cells(self) -> tuple[str, ...]:
        return (
            self.fault,
            self.mesos,
            "–" if self.leader is None else _seconds(self.leader),
            _seconds(self.write),
            _seconds(self.converged),
            str(self.acknowledged),
            str(len(self.lost)),
            str(len(self.killed)),
            str(sum(self.doubles.values())),
            f"{self.failed} of {self.requests}",
        )


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def table(rows: list[Row]) -> str:
    lines = [HEAD, tuple("---" if i < 2 else "---:" for i in range(len(HEAD))), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def write(path: Path, rows: list[Row]) -> None:
    """Between the marks that the document has."""
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}")
