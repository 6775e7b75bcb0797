import asyncio
import signal
import subprocess
import sys

import pytest

from daemonkit.backoff import Backoff
from daemonkit.lifecycle import keep_running, sleep_or_stop

DAEMON = """
import asyncio
import time
from daemonkit.errors import OperatorError
from daemonkit.lifecycle import run
from daemonkit.logs import configure
configure(daemon='test')
async def main(stop):
    {body}
run(main)
"""


def start(body: str) -> subprocess.Popen:
    program = DAEMON.format(body=body.replace("\n", "\n    "))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_ends_cleanly_on_a_signal(number):
    process = start("print('ready', flush=True)\nawait stop.wait()\nprint('cleaned up')")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "cleaned up\n")


@pytest.mark.parametrize("body", ["await asyncio.sleep(60)", "await asyncio.to_thread(time.sleep, 60)"])
def test_a_second_signal_does_not_wait(body):
    process = start(f"print('ready', flush=True)\n{body}")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None and "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_an_operators_mistake_is_one_line_and_no_traceback():
    process = start("raise OperatorError('port 80 is taken; choose another with --port')")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "error: port 80 is taken; choose another with --port\n")


async def test_a_loop_goes_on_after_errors_until_it_is_stopped():
    stop, calls = asyncio.Event(), []

    async def step() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            raise RuntimeError("not yet")
        stop.set()

    await asyncio.wait_for(keep_running("test", step, stop=stop, backoff=Backoff(first=0.001)), timeout=30)
    assert calls == [0, 1, 2]


async def test_a_wait_ends_when_stopped():
    stop = asyncio.Event()
    assert await sleep_or_stop(0.01, stop) is False
    stop.set()
    assert await asyncio.wait_for(sleep_or_stop(60, stop), timeout=30) is True
