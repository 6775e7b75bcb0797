"""Settings of `dromos autoscale`: flags, `DROMOS_AUTOSCALE_…`, and `[autoscale]` in dromos.toml."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from daemonkit.settings import Seconds, Settings


class AutoscaleSettings(Settings):
    section: ClassVar[str] = "autoscale"

    host: str = Field("127.0.0.1", description="the address that the daemon listens on")
    port: int = Field(8082, ge=0, le=65535, description="its port, for /health, /metrics and /journal")
    marathon: str = Field("http://127.0.0.1:8080", description="the API whose apps are scaled")
    edge: str = Field("http://127.0.0.1:8001", description="the edge's status address, where the metrics are")
    interval: Seconds = Field(2.0, gt=0, description="how often it looks, in seconds")
    window: Seconds = Field(10.0, gt=0, description="over which time a rate is measured, in seconds")
    timeout: Seconds = Field(5.0, gt=0, description="how long a neighbour may take to answer, in seconds")
    journal_entries: int = Field(10_000, ge=1, description="how many decisions are kept in memory")
    journal_bytes: int = Field(50_000_000, ge=10_000, description="how large the journal on disk may become")
    state_dir: Path = Field(Path("~/.dromos/autoscale"), description="where its history and its journal are kept")
