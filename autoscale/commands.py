"""`dromos autoscale explain`, `policy` and `replay`."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
import requests
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autoscale import draw, png, policy_file
from autoscale.errors import PolicyError, TraceError
from autoscale.metrics.fetching import reason_of
from autoscale.page import lines_of
from autoscale.policy import Policy
from autoscale.replay.dromos import Dromos
from autoscale.replay.others import AwsTargetTracking, HorizontalPodAutoscaler, MarathonLbAutoscale, NomadAutoscaler
from autoscale.replay.score import Score, score
from autoscale.replay.simulate import Cluster, Moment, Scaler, simulate
from autoscale.replay.trace import read_csv
from autoscale.series import Point
from daemonkit.addresses import without_credentials
from daemonkit.arguments import Duration
from daemonkit.errors import OperatorError

OTHERS: dict[str, Callable[[float], Scaler]] = {
    "mlb": MarathonLbAutoscale,
    "hpa": HorizontalPodAutoscaler,
    "nomad": NomadAutoscaler,
    "aws": AwsTargetTracking,
}


@click.command()
@click.argument("app")
@click.option(
    "--url", default="http://127.0.0.1:8082", show_default=True, envvar="DROMOS_AUTOSCALE_URL", help="the autoscaler"
)
@click.option(
    "-n", "most", type=click.IntRange(1, 200), default=20, show_default=True, help="how many decisions of the past"
)
@click.option("--chart", is_flag=True, help="draw demand against supply before them")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def explain(app: str, url: str, most: int, chart: bool, as_json: bool) -> None:
    """Why APP has the number of instances that it has: the last decisions and non-decisions, with their reasons."""
    app_id, as_json = "/" + app.strip("/"), as_json or _json_for_all()
    answer = _read(url, "journal", app=app_id, most=str(most))
    if not isinstance(answer, dict) or "journal" not in answer:
        where = without_credentials(url)
        raise UnreachableError(f"what answers at {where} is no autoscaler; another one: --url or DROMOS_AUTOSCALE_URL")
    entries: list[dict[str, Any]] = answer["journal"]
    if as_json:
        click.echo(orjson.dumps(entries, option=orjson.OPT_INDENT_2).decode())
        return
    if chart:
        points = [Point(**point) for point in (_read(url, "series", app=app_id) or {"series": []})["series"]]
        click.echo(draw.terminal(lines_of(points)))
    if not entries:
        raise OperatorError(f"nothing is known of {app_id}: it does not exist, or has no label DROMOS_AUTOSCALE_TARGET")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("TIME", "INSTANCES", "DECIDED", "OUTCOME", "WHY"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        when = datetime.fromtimestamp(entry["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(when, str(entry["instances"]), str(entry["decided"]), entry["outcome"], escape(entry["reason"]))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _json_for_all() -> bool:
    """Whether `dromos` itself was told --json, before the command's name."""
    return bool(getattr(click.get_current_context().find_root().obj, "as_json", False))


class UnreachableError(OperatorError):
    exit_code = 3


def _read(url: str, path: str, **params: str) -> Any:
    """The JSON that the daemon answers, None for a 404."""
    try:
        response = requests.get(f"{url.rstrip('/')}/{path}", params=params, timeout=10)
        if response.status_code == 404:
            return None
        response.raise_for_status()
        return response.json()
    except requests.RequestException as error:
        raise UnreachableError(
            f"no autoscaler answers at {without_credentials(url)} ({reason_of(error)});"
            " another one: --url or DROMOS_AUTOSCALE_URL"
        ) from None


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def policy(file: Path) -> None:
    """Check a policy FILE, and show what it says in our own keys."""
    try:
        found = policy_file.load(file)
    except PolicyError as error:
        raise OperatorError(str(error)) from None
    document = {"defaults": dict(found.defaults), "apps": {app: dict(keys) for app, keys in found.apps.items()}}
    click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
    for note in found.notes:
        click.echo(f"# {note}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    default="dromos",
    show_default=True,
    metavar="FILE|dromos|mlb|hpa|nomad|aws",
    help="which one decides; FILE: a policy file about one app, of any kind that the daemon takes",
)
@click.option(
    "--target",
    type=click.FloatRange(min=0, min_open=True),
    default=40.0,
    show_default=True,
    help="requests a second for an instance",
)
@click.option("--min", "least", type=click.IntRange(min=0), default=1, show_default=True, help="fewest instances")
@click.option("--max", "most", type=click.IntRange(min=1), default=1000, show_default=True, help="most instances")
@click.option("--start-delay", type=Duration(), default=60.0, show_default=True, help="from start to rotation")
@click.option(
    "--headroom",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.7,
    show_default=True,
    help="an instance's capacity is target / headroom",
)
@click.option("--svg", type=click.Path(path_type=Path), help="write the chart to this file")
@click.option("--png", "png_file", type=click.Path(path_type=Path), help="write the chart to this file")
@click.option("--json", "as_json", is_flag=True, help="print the scores as JSON")
def replay(
    file: Path,
    policy: str,
    target: float,
    least: int,
    most: int,
    start_delay: float,
    headroom: float,
    svg: Path | None,
    png_file: Path | None,
    as_json: bool,
) -> None:
    """Score a policy on the recorded samples in FILE (CSV: time,value) and draw demand against supply."""
    if least > most:
        raise click.UsageError(f"--min {least} is above --max {most}")
    cluster = Cluster(target, least, most, start_delay, headroom)
    try:
        trace = read_csv(file)
        moments = simulate(trace, cluster, _scaler(policy, cluster))
    except (TraceError, PolicyError) as error:
        raise OperatorError(str(error)) from None
    result = score(moments, cluster)
    lines = _lines(moments, cluster)
    title = f"{trace.name}: {policy}"
    if svg:
        _write(svg, draw.svg(title, lines).encode())
    if png_file:
        _write(png_file, png.png(title, lines))
    if as_json or _json_for_all():
        click.echo(orjson.dumps(asdict(result)).decode())
        return
    click.echo(draw.terminal(lines))
    _print(result)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}") from None


def _scaler(policy: str, cluster: Cluster) -> Scaler:
    if policy in OTHERS:
        return OTHERS[policy](cluster.target)
    if policy == "dromos":
        return Dromos(Policy(cluster.target, cluster.min, cluster.max))
    path = Path(policy)
    if not path.exists():
        raise PolicyError(f"{policy} is neither dromos, mlb, hpa, nomad or aws nor a file that can be read")
    return Dromos(policy_file.load_one(path, {"target": cluster.target, "min": cluster.min, "max": cluster.max}))


def _lines(moments: list[Moment], cluster: Cluster) -> list[draw.Line]:
    demanded = [None if moment.rate is None else float(cluster.demanded(moment.rate)) for moment in moments]
    return [
        draw.Line("demanded instances", "#b3261e", demanded),
        draw.Line("instances in rotation", "#0b6e5c", [float(moment.in_rotation) for moment in moments]),
    ]


def _print(result: Score) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("θU %", "θO %", "τU %", "τO %", "lost %", "instance-hours", "actions/day", "reversals/day"):
        table.add_column(column, justify="right")
    table.add_row(
        *(f"{value:.2f}" for value in (result.theta_u, result.theta_o, result.tau_u, result.tau_o)),
        f"{result.lost_pct:.4f}",
        *(f"{value:,.1f}" for value in (result.instance_hours, result.actions_per_day, result.reversals_per_day)),
    )
    Console(width=120).print(table)
