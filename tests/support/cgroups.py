"""The cgroups that this machine has, while others come and go."""

import fnmatch
import os
from pathlib import Path


def cgroups_named(pattern: str) -> list[str]:
    """Paths of the groups whose name is like the pattern, in all hierarchies."""
    return [
        str(Path(parent, name))
        for parent, names, _ in os.walk("/sys/fs/cgroup")  # passes over what goes while it walks
        for name in fnmatch.filter(names, pattern)
    ]
