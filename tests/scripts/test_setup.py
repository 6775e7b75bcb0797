"""The set-up that `make up` and `make test` begin with."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup(tmp_path: Path) -> ModuleType:
    """`scripts/setup.py` of a copy of what it reads."""
    for name in ("scripts/setup.py", "setup.py", "requirements.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "compat", tmp_path / "compat", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    spec = importlib.util.spec_from_file_location("setup_of_the_copy", tmp_path / "scripts" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_build_leaves_behind_is_no_reason_to_install_again(setup: ModuleType) -> None:
    lock = setup.ROOT / "requirements.lock"
    before = setup.state_of(lock)
    parser = setup.ROOT / "compat" / "http-parser"
    subprocess.run([sys.executable, "setup.py", "-q", "build"], cwd=parser, check=True, capture_output=True)
    assert list(parser.glob("build/**/*.py"))
    assert setup.state_of(lock) == before


@pytest.mark.parametrize("changed", ["requirements.lock", "setup.py", "compat/http-parser/http_parser/http.py"])
def test_what_is_installed_is_a_reason_when_it_changes(setup: ModuleType, changed: str) -> None:
    lock = setup.ROOT / "requirements.lock"
    before = setup.state_of(lock)
    with (setup.ROOT / changed).open("a") as file:
        file.write("# changed\n")
    assert setup.state_of(lock) != before


def test_who_may_not_install_gets_the_command_to_run(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    with pytest.raises(setup.SetupError) as stopped:
        setup.install_packages(["nginx", "haproxy"])
    assert "sudo apt-get install -y --no-install-recommends nginx haproxy" in str(stopped.value)
