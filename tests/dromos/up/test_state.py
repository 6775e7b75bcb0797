import stat
from pathlib import Path

from dromos.up.state import StateDir


def test_what_apps_are_told_is_nobody_elses_and_the_way_to_the_rest_is_open(tmp_path: Path) -> None:
    (tmp_path / "framework").mkdir(mode=0o755)  # as an earlier version made it
    StateDir(tmp_path).create()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"framework": 0o700, "consul": 0o700, "autoscale": 0o700, "run": 0o755, "logs": 0o755}
