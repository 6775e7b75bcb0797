"""Python programs forked from a process that has imported what they import.

Imports are two thirds of what a daemon's start costs, and the tests start hundreds. All else is as with `python -m`: a process and a
session of its own, with its own arguments, environment, directory and output, that runs the module as `__main__`. It ends with the
process that asked for it, however that ends.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

MODULES = (
    "autoscale.daemon",
    "consul_template_py.config_centre.cli",
    "consul_template_py.daemon",
    "embedded.consul.daemon",
    "embedded.mesos.daemon",
    "framework.daemon",
    "nginx.daemon",
    "registrator.daemon",
    "tests.support.mesos_agent_program",
)

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([*MODULES, __name__])


class Forked:
    """One of `MODULES` as a process, with what tests use of a `subprocess.Popen`. Output is appended to the files."""

    def __init__(
        self, module: str, arguments: Sequence[str], output: Path, errors: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.args = (module, *arguments)
        begun, begins = _server.Pipe(duplex=False)
        given = (begins, module, list(arguments), output, errors, dict(env), cwd)
        self._process = _server.Process(target=_begin, args=given, daemon=True)
        self._process.start()
        begins.close()
        with contextlib.suppress(EOFError):
            begun.recv()  # it has a session of its own, which its end is sent to
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _begin(
    begins: Connection, module: str, arguments: list[str], output: Path, errors: Path, env: dict[str, str], cwd: Path
) -> None:
    _end_with_the_server()
    os.setsid()
    begins.send(None)
    begins.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, file in enumerate((Path(os.devnull), output, errors)):
        opened = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    gc.freeze()  # what all have imported stays
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_the_server() -> None:
    """The server, whose only thread forks, is our parent. It ends when nobody has its pipe open any more: so we, who got that too, in
    case that we want children, must not."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    own = forkserver._forkserver
    os.close(own._forkserver_alive_fd)
    own._forkserver_alive_fd = None
