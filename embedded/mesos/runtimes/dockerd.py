"""A Docker daemon of our own, for a machine on which none runs: all that it makes is inside one directory, one cgroup and
one bridge, so that `stop` leaves nothing behind, also after a crash.

It shares the machine politely with a Docker daemon of the system and with others of this kind. The bridge and its subnet are its own, and
it is kept off iptables, whose chains a second daemon would reset for the first: ports are published by docker-proxy, and one
rule of ours lets containers reach the outside.
"""

import contextlib
import fcntl
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger

log = get_logger(__name__)

SYSTEM_URL = "unix:///var/run/docker.sock"
SUBNETS = ipaddress.IPv4Network(
    "10.213.0.0/16"
)  # one /20 of it a daemon: the first /24 is its bridge, the rest its user networks
_LOCK = Path("/run/lock/dromos-dockerd.lock")
_CGROUPS = Path("/sys/fs/cgroup")
_STATE = "dockerd.json"
_LONGEST_SOCKET = 100  # sun_path has 108 bytes
_children: dict[Path, "subprocess.Popen[bytes]"] = {}  # those that this process started and has to wait for


class DockerdError(OperatorError):
    """No Docker daemon answers and none could be started."""


@dataclass(frozen=True)
class _Own:
    """What `stop` has to take away; written before any of it exists."""

    bridge: str
    subnet: str
    cgroup: str
    owner: int  # the pid that this daemon is not to outlive, or 0


def docker_url(given: str | None = None) -> str:
    """The daemon that programs on this machine are meant to use: `given`, else DOCKER_HOST, else the system's socket."""
    return given or os.environ.get("DOCKER_HOST") or SYSTEM_URL


def answers(url: str, timeout: float = 2.0) -> bool:
    """True if a Docker daemon answers its ping there. Of `tcp://` addresses only the connection is tried."""
    scheme, _, address = url.partition("://")
    try:
        if scheme != "unix":
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout).close()
            return True
        connection = http.client.HTTPConnection("docker", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        with contextlib.closing(connection):
            connection.sock.connect(address)
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


def start(directory: Path, *, die_with_parent: bool = False, timeout: float = 60.0) -> str:
    """Starts a daemon with all its files in `directory`, or finds the one that runs there; the answer is its URL.

    `die_with_parent` ends it with the thread that calls this, and marks the directory for `sweep`. Raises DockerdError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    url = f"unix://{directory}/docker.sock"
    if answers(url):
        return url
    if (directory / _STATE).exists():
        stop(directory)
        directory.mkdir(parents=True, exist_ok=True)
    if shutil.which("dockerd") is None:
        raise DockerdError(
            "no Docker daemon answers and dockerd is not installed; install it: apt-get install docker.io"
        )
    if os.geteuid() != 0:
        raise DockerdError(
            "no Docker daemon answers and only root may start one; start it: sudo systemctl start docker"
        )
    if len(url) > _LONGEST_SOCKET:
        raise DockerdError(f"the path {directory} is too long for a socket; choose a shorter state directory")
    own = _make_bridge(directory, owner=os.getpid() if die_with_parent else 0)
    command = [
        *(["setpriv", "--pdeathsig", "TERM"] if die_with_parent else []),
        "dockerd",
        f"--host={url}",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/dockerd.pid",
        f"--bridge={own.bridge}",
        f"--default-address-pool=base={_user_networks(own.subnet)},size=26",
        f"--cgroup-parent={own.cgroup}",
        "--iptables=false",
        "--shutdown-timeout=2",
        "--config-file=",
    ]
    logfile = directory / "dockerd.log"
    with logfile.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    _children[directory] = process
    deadline = time.monotonic() + timeout
    while not answers(url):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            why = _last_error(logfile) if ended else f"it did not answer within {timeout:g} s"
            stop(directory, keep_log=True)
            raise DockerdError(f"dockerd does not start: {why}; see {logfile}")
        time.sleep(0.05)
    return url


def stop(directory: Path, *, timeout: float = 15.0, keep_log: bool = False) -> None:
    """Ends the daemon of `directory`, its containers, bridge, cgroups and files. Does nothing where there is none."""
    if not (directory / _STATE).exists():
        return
    own = _Own(**json.loads((directory / _STATE).read_text()))
    _kill_cgroups(own.cgroup)
    _end_daemon(directory, timeout)
    _remove_cgroups(own.cgroup)
    _unmount_below(directory)
    _remove_networks(own)
    for child in list(directory.iterdir()):
        if child.name == _STATE or (keep_log and child.name == "dockerd.log"):
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)
    (directory / _STATE).unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()


def sweep(parent: Path, pattern: str) -> None:
    """Stops the daemons in `parent`/`pattern` whose owner has died."""
    for directory in parent.glob(pattern):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            owner = json.loads((directory / _STATE).read_text())["owner"]
            if owner and not Path(f"/proc/{owner}").exists():
                stop(directory)


# --- the bridge -----------------------------------------------------------------------------------------------------------------------


def _make_bridge(directory: Path, owner: int) -> _Own:
    """A bridge with a subnet that no interface of this machine has."""
    name = f"dromos{uuid.uuid4().hex[:8]}"
    with _network_lock():
        used = [address for _, address in _addresses()]
        free = (net for net in SUBNETS.subnets(new_prefix=20) if not any(net.overlaps(other) for other in used))
        subnet = next(free, None)
        if subnet is None:
            raise DockerdError(
                f"every subnet of {SUBNETS} is in use; remove bridges that nobody needs: ip link show type bridge"
            )
        bridge = next(subnet.subnets(new_prefix=24))
        own = _Own(bridge=name, subnet=str(subnet), cgroup=f"/{name}", owner=owner)
        (directory / _STATE).write_text(json.dumps(asdict(own)))
        _run("ip", "link", "add", name, "type", "bridge")
        _run("ip", "address", "add", f"{bridge.network_address + 1}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
    with contextlib.suppress(DockerdError, FileNotFoundError):  # without it containers see this machine only
        _run("iptables", "--wait", "-t", "nat", "-A", *_masquerade(own))
    return own


def _remove_networks(own: _Own) -> None:
    with contextlib.suppress(DockerdError, FileNotFoundError):
        _run("iptables", "--wait", "-t", "nat", "-D", *_masquerade(own))
    subnet = ipaddress.IPv4Network(own.subnet)
    bridges = {own.bridge} | {name for name, address in _addresses() if subnet.supernet_of(address)}
    for name in bridges:
        with contextlib.suppress(DockerdError):
            _run("ip", "link", "delete", name)


def _masquerade(own: _Own) -> list[str]:
    return ["POSTROUTING", "-s", own.subnet, "!", "-d", own.subnet, "-j", "MASQUERADE"]


def _user_networks(subnet: str) -> str:
    """The upper half of the daemon's subnet, which its bridge does not touch."""
    return str(list(ipaddress.IPv4Network(subnet).subnets(prefixlen_diff=1))[1])


def _addresses() -> list[tuple[str, ipaddress.IPv4Network]]:
    """(interface, its network) for all IPv4 addresses of this machine."""
    return [
        (link["ifname"], ipaddress.IPv4Network(f"{item['local']}/{item['prefixlen']}", strict=False))
        for link in json.loads(_run("ip", "-json", "-4", "address", "show") or "[]")
        for item in link.get("addr_info", [])
        if "local" in item
    ]


@contextlib.contextmanager
def _network_lock() -> Iterator[None]:
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- the end --------------------------------------------------------------------------------------------------------------------------


def _end_daemon(directory: Path, timeout: float) -> None:
    """SIGTERM, SIGKILL, and then what a daemon that crashed leaves: its containerd and the containers' shims."""
    deadline = time.monotonic() + timeout
    mark = f"{directory}/"
    _signal_all(mark, signal.SIGTERM, programs=("dockerd",))
    while _processes(mark, programs=("dockerd",)) and time.monotonic() < deadline:
        time.sleep(0.02)
    end = time.monotonic() + 5
    while _processes(mark) and time.monotonic() < end:
        _signal_all(mark, signal.SIGKILL)
        time.sleep(0.02)
    if child := _children.pop(directory, None):
        child.wait()


def _processes(mark: str, programs: tuple[str, ...] = ()) -> list[int]:
    """Docker's own programs whose command line names a path in the directory (never a user's process that only mentions it)."""
    known = programs or ("dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy", "runc")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and Path(words[0]).name in known and any(mark in word for word in words):
                found.append(int(entry.name))
    return found


def _signal_all(mark: str, number: signal.Signals, programs: tuple[str, ...] = ()) -> None:
    for pid in _processes(mark, programs):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _cgroups(parent: str) -> list[Path]:
    """The daemon's cgroups in all hierarchies, children before parents."""
    tops = [root / parent.lstrip("/") for root in (_CGROUPS, *_CGROUPS.glob("*/"))]
    found = [path for top in tops if top.is_dir() for path in (top, *top.rglob("*/"))]
    return sorted(found, key=lambda path: -len(path.parts))


def _kill_cgroups(parent: str) -> None:
    """Kills the containers, so that the daemon does not wait for each to heed SIGTERM."""
    for group in _cgroups(parent):
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def _remove_cgroups(parent: str, timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while groups := _cgroups(parent):
        _kill_cgroups(parent)
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            log.warning("cgroups of Docker cannot be removed", cgroups=[str(group) for group in groups])
            return
        time.sleep(0.01)


def _unmount_below(directory: Path) -> None:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(f"{directory}/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def _last_error(logfile: Path) -> str:
    lines = [line for line in logfile.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "it ended without a word"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DockerdError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
