"""The Nginx that the edge owns: prepared, checked, started, adopted, reloaded and stopped.

It runs in a session of its own, so that traffic goes on when the edge daemon dies. Whatever is signalled was proven to be ours first:
a master by the configuration file in its command line, a worker by our error log among its open files, and both are held by a
pidfd between the proof and the signal, so that a recycled pid is never hit. Everything here blocks; a daemon calls it in a thread.
"""

import contextlib
import grp
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from daemonkit.files import write_atomically
from nginx import haproxy_process, pids
from nginx.errors import ProxyFailedError, ProxyMissingError
from nginx.layout import Layout

MODULE_DIRECTORIES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"))
LUA_MODULE = "ngx_http_lua_module.so"
START_SECONDS = 15.0
WORKER_USERS = ("www-data", "nginx", "nobody")


@dataclass(frozen=True)
class Master:
    """A running Nginx master that is ours. `started` is /proc's start time, in clock ticks since boot."""

    pid: int
    started: int


def find_program(program: str = "nginx", *, lua: bool = True) -> str:
    """The program's path. Raises ProxyMissingError with the mend when it, or its Lua module, is not installed."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise ProxyMissingError(f"there is no program {program}; install it with: apt-get install nginx")
    if lua and not any((directory / LUA_MODULE).exists() for directory in MODULE_DIRECTORIES):
        raise ProxyMissingError(
            f"{found} has no Lua module; apt-get install libnginx-mod-http-lua lua-cjson, or choose the target nginx"
        )
    return found


def modules_directory() -> Path:
    """Where Nginx' dynamic modules are."""
    return next((directory for directory in MODULE_DIRECTORIES if directory.is_dir()), MODULE_DIRECTORIES[0])


def worker_user(root: Path) -> str:
    """Whom workers run as when root starts them: an unprivileged user, unless `root` lies where such a user cannot go."""
    if os.geteuid() != 0:
        return ""
    reachable = all(path.stat().st_mode & stat.S_IXOTH for path in (root, *root.parents) if path.exists())
    for name in WORKER_USERS:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            if reachable:
                group = grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name
                return f"{name} {group}"
    return "root"


def prepare(layout: Layout) -> None:
    """Makes the directories and the control token. The directory of the control socket is for its owner alone."""
    layout.root.mkdir(parents=True, exist_ok=True)
    for directory in (
        layout.config.parent,
        layout.logs,
        layout.temp("x").parent,
        layout.certificates,
        layout.authorities,
    ):
        directory.mkdir(exist_ok=True)
    layout.users.mkdir(exist_ok=True, mode=0o711)
    layout.pid.parent.mkdir(exist_ok=True)
    layout.pid.parent.chmod(0o700)
    if not layout.token.exists():
        write_atomically(layout.token, secrets.token_urlsafe(32), mode=0o600)


def write_private(layout: Layout, path: Path, text: str) -> None:
    """For the eyes of Nginx' workers alone, which read it at each request. What is there as it should be is left alone."""
    user = layout.user.partition(" ")[0]
    owner = pwd.getpwnam(user).pw_uid if user and os.geteuid() == 0 else os.geteuid()
    if path.exists() and path.stat().st_uid == owner and path.read_text() == text:
        return
    write_atomically(path, text, mode=0o600)
    if owner != os.geteuid():
        os.chown(path, owner, -1)


def check(layout: Layout, program: str, config: Path) -> None:
    """`nginx -t`. Raises ProxyFailedError with what Nginx says of the file."""
    done = _run(layout, program, config, "-t")
    if done.returncode != 0:
        raise ProxyFailedError(f"nginx -t refused {config}: {_complaint(done.stderr)}")


def start(layout: Layout, program: str) -> Master:
    """Starts Nginx with its configuration file. Raises ProxyFailedError with what it says."""
    end_orphans(layout)
    for socket in layout.control.parent.glob("*.sock"):
        socket.unlink(missing_ok=True)  # left behind by a master that was killed, it would be "in use" for ever
    done = _run(layout, program, layout.config)
    if done.returncode != 0:
        raise ProxyFailedError(f"nginx did not start: {_complaint(done.stderr)}")
    deadline = time.monotonic() + START_SECONDS
    while (master := running(layout)) is None:
        if time.monotonic() > deadline:
            raise ProxyFailedError(f"nginx did not start within {START_SECONDS:.0f} s; see {layout.error_log}")
        time.sleep(0.01)
    return master


def running(layout: Layout) -> Master | None:
    """The master that the pid file names, if it lives and was started with our configuration file."""
    try:
        pid = int(layout.pid.read_text())
        title = pids.command_line(pid)[0]
        if not title.startswith("nginx: master process") or str(layout.config) not in title:
            return None
        return Master(pid, pids.start_time(pid))
    except (OSError, ValueError, IndexError):
        return None


def accepting_workers(master: Master) -> frozenset[int]:
    """The workers that still take connections: after a reload, those of the old configuration say when they no longer do."""
    try:
        children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
    except OSError:
        return frozenset()
    return frozenset(int(pid) for pid in children if pids.command_line(int(pid))[:1] == ["nginx: worker process"])


def signal_master(layout: Layout, master: Master, number: signal.Signals) -> None:
    """Raises ProxyFailedError if that master is gone, or the pid is another process by now."""
    if not pids.send(master.pid, number, lambda _pid: running(layout) == master):
        raise ProxyFailedError(f"nginx (pid {master.pid}) is gone")


def stop(state_dir: Path, *, grace: float = 5.0) -> bool:
    """Ends the proxy below `state_dir`, the edge's, with all its workers: gracefully for `grace` seconds, then at once.

    Whether there was one. Used by `dromos down`; needs nothing but the directory.
    """
    layout = Layout(state_dir.expanduser().absolute())
    if beside(layout.root).is_dir():
        stop(beside(layout.root), grace=grace)
    master = running(layout)
    if master is not None:
        with contextlib.suppress(ProxyFailedError):
            signal_master(layout, master, signal.SIGQUIT)
        pids.wait_for_end(ours(layout), grace)
    found = pids.end_all(lambda: ours(layout), lambda pid: pids.has_open(pid, layout.error_log))
    found = haproxy_process.stop(layout) or found
    for path in (layout.pid, layout.control, layout.unavailable):
        path.unlink(missing_ok=True)
    return found or master is not None


def beside(state_dir: Path) -> Path:
    """The directory of the Nginx that does for another proxy what that cannot."""
    return state_dir / "udp"


def end_orphans(layout: Layout) -> None:
    """Workers whose master was killed hold the ports: they finish their requests, but listen no longer."""
    if running(layout) is None:
        for pid in ours(layout):
            pids.send(pid, signal.SIGQUIT, lambda one: pids.has_open(one, layout.error_log))


def ours(layout: Layout) -> list[int]:
    """The pids of all Nginx processes that write to our error log."""
    return [pid for pid in pids.named("nginx") if pids.has_open(pid, layout.error_log)]


def _run(layout: Layout, program: str, config: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [program, "-p", f"{layout.root}/", "-c", str(config), "-e", str(layout.error_log), *flags]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProxyFailedError(f"{program} could not be run: {error}") from None


def _complaint(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if "[emerg]" in line or "[error]" in line or "[alert]" in line]
    return (lines or stderr.strip().splitlines() or ["it does not say why"])[0][:500]
