"""What the helpers of the tests promise of the daemons that they start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import REPOSITORY, free_port
from tests.support.waiting import eventually

# Nothing is imported ahead: what the daemon does is of no interest.
STARTER = """
import signal, sys
from pathlib import Path
from tests.support import forked
from tests.support.processes import start
forked._server.set_forkserver_preload([forked.__name__])
command = [sys.executable, "-m", "embedded.consul.daemon", "--port", sys.argv[1], "--state-dir", sys.argv[2]]
print(start(command, Path(sys.argv[2], "log")).pid, flush=True)
signal.pause()
"""


def test_a_daemon_ends_with_the_test_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(free_port()), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as starter:
        assert starter.stdout is not None
        daemon = Path("/proc", starter.stdout.readline().decode().strip())
        assert daemon.exists()
        os.kill(starter.pid, signal.SIGKILL)
    eventually(lambda: not daemon.exists(), 60)
