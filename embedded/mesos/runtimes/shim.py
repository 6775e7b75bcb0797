"""The supervisor of one process: starts it, keeps its output, ends it with all its descendants, and writes down how it ended.

It is a program of its own, so that tasks outlive the agent. It is started as `python -I -S shim.py …` and imports little, because
there is one for each task. Three ways to call it:

    shim.py task DIRECTORY LOCK_FD READY_FD
        `launch.json` in DIRECTORY says what to run. READY_FD gets one line, "started" or why not. LOCK_FD holds a file lock for as
        long as the shim lives, which is how an agent knows that it does. `started.json` and, at the end, `exit.json` appear.
        SIGUSR1 makes it read `kill.json`: {"at": seconds of the monotonic clock, "grace": seconds}. All descendants get SIGTERM; what
        is left of them after the grace period gets SIGKILL. Later requests can only shorten the grace period. SIGUSR2 does the same
        with the `grace` of launch.json, for when a full disk takes no kill.json.
    shim.py check
        The same object as `launch.json` on stdin, with `timeout`; one JSON object, as in `exit.json`, on stdout.
    shim.py session STDIN_FD STDOUT_FD STDERR_FD
        The same, with the command's streams at these descriptors; with `tty` they are one terminal, which becomes its own. It ends with
        the process that called it.

launch.json: argv, env, cwd, uid, gid, groups (null: as the shim), cgroups (directories to join), memory (cgroup directory to watch
for an out-of-memory kill, or null), pids (cgroup directory, or null), stdout, stderr (paths, or null), log_bytes, log_files.
exit.json: status (as of waitpid), killed, timed_out, oom (null, or {limit, peak} in bytes), ended (epoch seconds).
"""

# pathlib would double the time that the shim needs to start; to run programs without a shell is its purpose.
# ruff: noqa: PTH104, PTH108, PTH110, PTH123, PTH208, S606

import array
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import stat
import sys
import termios
import time
from collections.abc import Callable
from typing import Any, NoReturn

Json = dict[str, Any]
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02  # between two looks at descendants that are to end
GIVE_UP_SECONDS = 20.0  # a process that SIGKILL does not end in this time hangs in the kernel
LATE_OOM_SECONDS = 1.0  # cgroup version 1 tells of the killer before it strikes
MOST_PENDING = 1024 * 1024  # of output read in one go at the end


class StartError(Exception):
    pass


class Log:
    """An output file of bounded size: when it is full it becomes `<path>.1`, and so on; the oldest is dropped."""

    def __init__(
        self, path: str, most_bytes: int, files: int, owner: tuple[int, int] | None, *, fresh: bool = True
    ) -> None:
        """`fresh` makes a new file; else what is there is continued, if it is a file."""
        self.path, self.most_bytes, self.files, self.owner = path, most_bytes, files, owner
        self.fd = -1 if fresh else self._continue()
        if self.fd < 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # an unpacked archive may have put anything there
            self.fd = self._create()
        self.size = os.fstat(self.fd).st_size

    def _continue(self) -> int:
        """The file that is there, or -1. The task may have put a link or a pipe in its place."""
        with contextlib.suppress(OSError):
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
        return -1

    def close(self) -> None:
        os.close(self.fd)

    def _create(self) -> int:
        """Exclusive: the task may write to the directory, and must not choose what is written to, nor what is given to it."""
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self.owner:
            os.fchown(fd, *self.owner)
        return fd

    def write(self, data: bytes) -> None:
        """A full disk loses output; it never stops the task."""
        try:
            while data:
                piece, data = self._split(data)
                if not piece:
                    self._rotate()
                while piece:
                    written = os.write(self.fd, piece)
                    self.size += written
                    piece = piece[written:]
        except OSError:
            pass

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """(what still goes into this file, the rest), between lines where that can be."""
        room = self.most_bytes - self.size
        if len(data) <= room:
            return data, b""
        cut = data.rfind(b"\n", 0, max(0, room)) + 1
        if cut == 0 and self.size == 0:
            cut = room
        return data[:cut], data[cut:]

    def _rotate(self) -> None:
        """Where the files cannot be renamed, the task having put something in the way, the old output goes."""
        try:
            if self.files > 1:
                for number in range(self.files - 1, 0, -1):
                    older = self.path if number == 1 else f"{self.path}.{number - 1}"
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(older, f"{self.path}.{number}")
                fd = self._create()
                os.close(self.fd)
                self.fd, self.size = fd, 0
                return
        except OSError:
            pass
        os.ftruncate(self.fd, 0)
        self.size = 0


class Memory:
    """Tells of the out-of-memory killer's work in one cgroup, of version 1 or 2."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.version2 = os.path.exists(directory + "/memory.events")
        self.fd: int | None = None
        self.look_until = 0.0  # monotonic
        try:
            if self.version2:
                self.fd = os.open(directory + "/memory.events", os.O_RDONLY)
            else:
                self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                control = os.open(directory + "/memory.oom_control", os.O_RDONLY)
                write(directory + "/cgroup.event_control", f"{self.fd} {control}")
                os.close(control)
        except OSError:
            self.fd = None  # the look at the end still finds it

    def poll_mask(self) -> int:
        return select.POLLPRI if self.version2 else select.POLLIN

    def seen(self) -> None:
        """Empties the event, so that poll sleeps again."""
        assert self.fd is not None
        self.look_until = time.monotonic() + LATE_OOM_SECONDS
        with contextlib.suppress(OSError):
            if self.version2:
                os.pread(self.fd, 4096, 0)
            else:
                os.eventfd_read(self.fd)

    def killed(self) -> Json | None:
        """None, or {limit, peak} in bytes when the killer has struck."""
        text = read(self.directory + ("/memory.events" if self.version2 else "/memory.oom_control"))
        counts = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
        if int(counts.get("oom_kill", 0)) == 0:
            return None
        limit, peak = ("max", "peak") if self.version2 else ("limit_in_bytes", "max_usage_in_bytes")
        return {"limit": self._bytes(limit), "peak": self._bytes(peak)}

    def _bytes(self, name: str) -> int | None:
        text = read(f"{self.directory}/memory.{name}").strip()
        return int(text) if text.isdigit() else None


class Supervisor:
    def __init__(self, spec: Json, streams: list[int] | None = None) -> None:
        """`streams`: the command's stdin, stdout and stderr, where they are not files of this program's own."""
        self.spec = spec
        self.streams = streams
        self.pid = 0
        self.status: int | None = None  # of waitpid, once the process has ended
        self.deadline: float | None = None  # monotonic: when SIGKILL follows
        self.asked_to_kill = False
        self.timed_out = False
        self.oom: Json | None = None
        self.outputs: dict[int, Log] = {}  # by the read end of a pipe
        self.memory = Memory(spec["memory"]) if spec.get("memory") else None
        self.wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)  # whoever wants the task to end asks for a kill
        self.kill_requested = self.default_kill_requested = False
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        signal.signal(signal.SIGUSR1, self._on_kill_signal)
        signal.signal(signal.SIGUSR2, self._on_default_kill_signal)

    def _on_kill_signal(self, *_: object) -> None:
        self.kill_requested = True

    def _on_default_kill_signal(self, *_: object) -> None:
        self.default_kill_requested = True

    def start(self) -> None:
        """Raises StartError with why the process could not be started."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        spec = self.spec
        ends = self.streams or [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), *self._output_files()]
        error_read, error_write = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            become(spec, ends, error_write)
        os.close(error_write)
        for end in set(ends):
            os.close(end)
        with open(error_read, "rb") as errors:
            why = errors.read()
        if why:
            os.waitpid(self.pid, 0)
            raise StartError(why.decode(errors="replace"))

    def _output_files(self) -> list[int]:
        """The ends for the process to write to. Raises StartError."""
        spec = self.spec
        owner = None if spec["uid"] is None else (spec["uid"], spec["gid"])
        ends = []
        for name in ("stdout", "stderr"):
            if spec[name] is None:
                ends.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
            else:
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(read_end, False)
                try:
                    self.outputs[read_end] = Log(spec[name], spec["log_bytes"], spec["log_files"], owner)
                except OSError as error:
                    raise StartError(f"Failed to open '{spec[name]}': {error.strerror}") from None
                ends.append(write_end)
        return ends

    def run(self, read_kill: Callable[[], Json] | None = None) -> Json:
        """Supervises until nothing of the process is left. `read_kill()` gives the kill request. Returns what exit.json holds."""
        if "timeout" in self.spec:
            self.deadline = time.monotonic() + self.spec["timeout"]
        poller = select.poll()
        poller.register(self.wake, select.POLLIN)
        for fd in self.outputs:
            poller.register(fd, select.POLLIN)
        if self.memory and self.memory.fd is not None:
            poller.register(self.memory.fd, self.memory.poll_mask())
        while True:
            for fd, _ in poller.poll(self._milliseconds()):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                elif self.memory and fd == self.memory.fd:
                    self.memory.seen()
                elif not self._pump(fd):
                    poller.unregister(fd)
            if self.memory and time.monotonic() < self.memory.look_until:
                self.oom = self.oom or self.memory.killed()
            if self.kill_requested and read_kill:
                self.kill_requested = False
                self._ask_to_end(read_kill())
            if self.default_kill_requested:
                self.default_kill_requested = False
                self._ask_to_end({"at": time.monotonic(), "grace": self.spec.get("grace", 0.0)})
            if self._reap():
                break
            over = self.deadline is not None and time.monotonic() >= self.deadline
            finished = self.status is not None and not self.asked_to_kill  # its descendants do not outlive it
            if over or finished or self.oom:
                self.timed_out = over and not self.asked_to_kill and self.status is None
                self.kill_all()
                break
        for fd in list(self.outputs):
            self._drain(fd)
        if self.memory and self.oom is None:
            self.oom = self.memory.killed()
        return {
            "status": self.status,
            "killed": self.asked_to_kill,
            "timed_out": self.timed_out,
            "oom": self.oom,
            "ended": time.time(),
        }

    def _milliseconds(self) -> float | None:
        """How long poll may sleep; None is until something happens."""
        now = time.monotonic()
        if self.status is not None or (self.memory and now < self.memory.look_until):
            return POLL_SECONDS * 1000
        return None if self.deadline is None else max(0.0, self.deadline - now) * 1000 + 1

    def _ask_to_end(self, request: Json) -> None:
        deadline = request["at"] + request["grace"]
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)
        if not self.asked_to_kill:
            self.asked_to_kill = True
            if request["grace"] > 0:
                for pid in descendants():
                    send(pid, signal.SIGTERM)

    def kill_all(self) -> None:
        """SIGKILL to all descendants, until there are none: those that left the group or the session too."""
        if self.spec.get("pids"):
            write(self.spec["pids"] + "/pids.max", "0")  # what cannot fork cannot escape
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while not self._reap() and time.monotonic() < give_up:
            for pid in descendants():
                send(pid, signal.SIGKILL)
            for fd in list(self.outputs):
                self._pump(fd)
            select.select([], [], [], POLL_SECONDS / 10)

    def _reap(self) -> bool:
        """Waits for what has ended. True if no child, own or adopted, is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.pid:
                self.status = status

    def _pump(self, fd: int) -> bool:
        """Moves output to its file; False at its end."""
        log = self.outputs.get(fd)
        if log is None:
            return False
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        if not data:
            del self.outputs[fd]
            os.close(fd)
            return False
        log.write(data)
        return True

    def _drain(self, fd: int) -> None:
        waiting = array.array("i", [0])
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
        moved = 0
        while fd in self.outputs and waiting[0] and moved < MOST_PENDING:
            self._pump(fd)
            moved += 65536
            if fd in self.outputs:
                fcntl.ioctl(fd, termios.FIONREAD, waiting)


def become(spec: Json, streams: list[int], error_fd: int) -> NoReturn:
    """In the child: turns into the process, with these for stdin, stdout and stderr. Never returns."""
    step = "start"
    try:
        os.setsid()
        step = "join its cgroups"
        for directory in spec["cgroups"]:
            write(directory + "/cgroup.procs", "0", strict=True)
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        if spec.get("tty"):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.umask(0o022)
        step = f"enter '{spec['cwd']}'"
        os.chdir(spec["cwd"])  # as the agent: the directories above the sandbox need not be open to the user
        if spec["uid"] is not None:
            step = "become its user"
            os.setgroups(spec["groups"])
            os.setgid(spec["gid"])
            os.setuid(spec["uid"])
        step = f"execute '{spec['file']}'"
        os.execvpe(spec["file"], spec["argv"], spec["env"])
    except Exception as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        os.write(error_fd, f"Failed to {step}: {why}".encode(errors="replace"))
    finally:
        os._exit(127)


def descendants() -> list[int]:
    """All processes below this one, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            line = read(f"/proc/{name}/stat")
            if line:
                children.setdefault(int(line.rpartition(")")[2].split()[1]), []).append(int(name))
    found: list[int] = []
    look = [os.getpid()]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


def start_time(pid: int) -> int:
    """Clock ticks since boot, which tells a process from a later one with the same number."""
    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write(path: str, text: str, strict: bool = False) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        if strict:
            raise


def write_durably(path: str, value: Json) -> bool:
    """The file appears whole or not at all, also when the power fails. False if the disk is full."""
    try:
        with open(path + ".tmp", "w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".tmp", path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def supervise_task(directory: str, lock_fd: int, ready_fd: int) -> None:
    os.set_inheritable(lock_fd, False)
    os.set_inheritable(ready_fd, False)
    with open(directory + "/launch.json") as file:
        supervisor = Supervisor(json.load(file))
    try:
        supervisor.start()
    except (StartError, OSError) as error:
        os.write(ready_fd, f"{error}\n".encode(errors="replace"))
        return
    shim = os.getpid()
    pids = {"pid": supervisor.pid, "start": start_time(supervisor.pid), "shim": shim, "shim_start": start_time(shim)}
    if not write_durably(directory + "/started.json", pids):
        supervisor.kill_all()  # whom nobody can find again must not run
        os.write(ready_fd, b"Failed to write down that the task was started: no space left on the disk\n")
        return
    with contextlib.suppress(OSError):  # where the agent has died, its successor finds started.json
        os.write(ready_fd, b"started\n")
        os.close(ready_fd)

    def read_kill() -> Json:
        with open(directory + "/kill.json") as file:
            request: Json = json.load(file)
            return request

    ended = supervisor.run(read_kill)
    while not write_durably(directory + "/exit.json", ended):
        time.sleep(1)  # a full disk; the lock keeps the agent waiting


def supervise_command(streams: list[int] | None = None) -> None:
    for fd in streams or ():
        os.set_inheritable(fd, False)
    if streams:  # a session is nobody's without the agent that started it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR2, 0, 0, 0)
    supervisor = Supervisor(json.load(sys.stdin), streams)
    try:
        supervisor.start()
    except (StartError, OSError) as error:
        print(json.dumps({"error": str(error)}))
        return
    print(json.dumps(supervisor.run()))


if __name__ == "__main__":
    if sys.argv[1] == "task":
        supervise_task(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "session":
        supervise_command([int(fd) for fd in sys.argv[2:5]])
    else:
        supervise_command()
