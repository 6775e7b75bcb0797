"""What `dromos up` can be told. Without a section: the variables are DROMOS_API_PORT, DROMOS_STATE_DIR, …"""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from daemonkit.settings import Seconds, Settings

Port = Annotated[int, Field(ge=1, le=65535)]
Expanded = Annotated[Path, BeforeValidator(lambda value: Path(value).expanduser().absolute())]


class UpSettings(Settings):
    section: ClassVar[str] = ""

    host: str = Field("127.0.0.1", description="the address that everything listens on")
    api_port: Port = Field(8080, description="the API and the UI")
    mesos_port: Port = Field(5050, description="the embedded Mesos")
    consul_port: Port = Field(8500, description="Consul")
    edge_port: Port = Field(8000, description="the edge: users' traffic")
    edge_status_port: Port = Field(8001, description="the edge's metrics and status page")
    edge_daemon_port: Port = Field(8084, description="health and metrics of the daemon that keeps the edge")
    autoscale_port: Port = Field(8082, description="the autoscaler")
    registrator_port: Port = Field(8083, description="the registrator")
    state_dir: Expanded = Field(Path("~/.dromos"), validate_default=True, description="where all state is kept")
    agents: int = Field(1, ge=1, description="how many agents the embedded Mesos has")
    simulate: bool = Field(False, description="agents whose tasks are entries, not processes")
    mesos_master: str | None = Field(
        None, description="a Mesos that runs already, HOST:PORT or zk://…, instead of the embedded one"
    )
    consul_addr: str | None = Field(
        None, description="a Consul that runs already, HOST:PORT, instead of one of our own"
    )
    embedded_consul: bool = Field(False, description="the embedded Consul, even where a `consul` program is installed")
    sample: bool = Field(True, description="deploy the sample app if there is no app yet")
    start_timeout: Seconds = Field(
        60.0, gt=0, description="how long the daemons may take to become healthy, in seconds"
    )
    log_limit: int = Field(50, ge=1, description="megabytes that a daemon's log may reach before it is rotated")

    # These settings of the command line alone are nobody's key in a shared dromos.toml.
    api_url: str | None = Field(None, description="the API that the client commands talk to")
    config: Path | None = Field(None, description="the configuration file")
