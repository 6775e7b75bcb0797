"""Sets this machine up: `python3 scripts/setup.py run` for the platform, `... test` for its tests as well.

Needs nothing but Python's standard library. Creates .venv, installs the locked
requirements and, with apt, the programs that the machine lacks.
Without the right to install it stops with the command to run.
A run with nothing to do takes well under a second.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
POLICY = Path("/usr/sbin/policy-rc.d")

# What shows that a Debian package is there -> the package.
RUN_PACKAGES = {
    "/usr/sbin/nginx": "nginx",
    "/usr/lib/nginx/modules/ngx_http_lua_module.so": "libnginx-mod-http-lua",
    "/usr/lib/nginx/modules/ngx_stream_module.so": "libnginx-mod-stream",
    "/usr/share/lua/5.1/cjson/util.lua": "lua-cjson",
}
TEST_PACKAGES = {
    "/usr/sbin/haproxy": "haproxy",
    "/usr/share/java/zookeeper.jar": "zookeeper",
    "/usr/bin/prometheus": "prometheus",
    "/usr/sbin/dockerd": "docker.io",
    "/usr/sbin/iptables": "iptables",
    "/bin/busybox": "busybox-static",
    "/usr/bin/chromium": "chromium",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc": "fonts-wqy-microhei",
    "/usr/sbin/ip": "iproute2",
    "/usr/sbin/keepalived": "keepalived",
    "/usr/bin/gcc": "gcc",
    "/usr/bin/nm": "binutils",
    "/usr/lib/x86_64-linux-gnu/libcurl-gnutls.so.4": "libcurl3-gnutls",
}


class SetupError(Exception):
    """What is missing, and the command that mends it."""


def main(goal: str) -> None:
    if sys.version_info < (3, 11):
        raise SetupError(f"Dromos needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}")
    tests = goal == "test"
    wanted = {**RUN_PACKAGES, **(TEST_PACKAGES if tests else {})}
    missing = [package for shown_by, package in wanted.items() if not Path(shown_by).exists()]
    if not VENV.exists() and importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if missing:
        install_packages(missing)
    install_requirements(ROOT / ("requirements-dev.lock" if tests else "requirements.lock"))


def install_packages(packages: list[str]) -> None:
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise SetupError(f"these are missing, and there is no apt-get here to install them: {' '.join(packages)}")
    if os.geteuid() != 0:
        raise SetupError(f"these programs are missing; install them with: sudo {command}")
    print(f"installing with apt: {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_left_stopped():
        for step in ("apt-get update -qq", f"{command} -qq"):
            done = subprocess.run(step.split(), env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SetupError(f"`{step}` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextlib.contextmanager
def services_left_stopped() -> Iterator[None]:
    """Debian starts a service when its package is installed; Dromos runs its own nginx, so nothing is to take port 80."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def install_requirements(lock: Path) -> None:
    python = VENV / "bin" / "python"
    stamp = VENV / f".installed-{lock.stem}"
    wanted = state_of(lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {lock.name} into .venv", flush=True)
    if not python.exists():
        run(sys.executable, "-m", "venv", str(VENV))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # --no-deps: the lock is complete but for http-parser, which comes from this tree
    run(*pip, "--no-deps", "--require-hashes", "-r", str(lock))
    run(*pip, "--no-deps", str(ROOT / "compat" / "http-parser"))
    # compat mode: a plain path entry, which type checkers and import hooks understand
    run(*pip, "--no-deps", "--config-settings", "editable_mode=compat", "--editable", str(ROOT))
    stamp.write_text(wanted)


def state_of(lock: Path) -> str:
    """What was installed, and where: another one is installed anew. What the builds leave in the tree does not count."""
    parser = ROOT / "compat" / "http-parser"
    inputs = [lock, ROOT / "setup.py", parser / "setup.py", *sorted((parser / "http_parser").glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs) + str(ROOT).encode()).hexdigest()


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "run")
    except SetupError as error:
        sys.exit(f"set-up stopped: {error}")
