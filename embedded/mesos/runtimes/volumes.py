"""Volumes of a task that has no mount namespace of its own: links in its sandbox. And where persistent volumes are."""

from pathlib import Path
from urllib.parse import quote

from embedded.mesos.runtimes.base import Json, Launch, LaunchError


def link_volumes(launch: Launch) -> list[Path]:
    """Makes a link in the sandbox for each volume of the task; the answer are the directories of those that are its user's: the
    persistent ones, and what a group shares.

    Raises LaunchError for what a link cannot give, OSError.
    """
    container = launch.task.get("container") or {}
    persistent = persistent_volumes(launch)
    shared = [Path(volume["host_path"]) for volume in persistent]
    for volume in (*container.get("volumes", []), *persistent):
        path = volume["container_path"]
        source = source_of(volume, launch)
        if path.startswith("/"):
            if Path(path) == source:
                continue
            raise LaunchError(
                f"Volume '{path}': a task without Docker sees the agent's own file system; use a relative container_path"
            )
        if ".." in path.split("/"):
            raise LaunchError(f"Volume '{path}': the container_path leads out of the sandbox")
        if volume["mode"] == "RO":
            raise LaunchError(f"Volume '{path}': read-only volumes need a container of type DOCKER")
        link = launch.sandbox / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
        if launch.group_sandbox and source.is_relative_to(launch.group_sandbox):
            shared.append(source)
    return shared


def persistent_volumes(launch: Launch) -> list[Json]:
    """Those among the task's resources, as volumes of the host; their directories are made where they are missing."""
    found = []
    for resource in launch.task.get("resources", []):
        disk = resource.get("disk", {})
        if "persistence" not in disk or "volume" not in disk:
            continue
        place = volume_place(launch.directory.parents[2], disk["persistence"]["id"])
        place.mkdir(parents=True, exist_ok=True)
        found.append({**disk["volume"], "host_path": str(place)})
    return found


def volume_place(meta: Path, persistence_id: str) -> Path:
    """Where an agent with its state in `meta` keeps a persistent volume. Ids are others' texts: none is a path by itself."""
    return meta / "volumes" / f"id-{quote(persistence_id, safe='')}"


def source_of(volume: Json, launch: Launch) -> Path:
    """The directory of this machine that a volume shows; made where it is in a sandbox."""
    source = volume.get("source", {})
    kind = source.get("type", "HOST_PATH" if "host_path" in volume else None)
    if kind == "HOST_PATH":
        path = source["host_path"]["path"] if source else volume["host_path"]
        if path.startswith("/"):
            return Path(path)
        return within(launch.sandbox, path)  # as Mesos: relative host paths are in the sandbox
    if kind == "SANDBOX_PATH":
        place = source["sandbox_path"]
        root = launch.sandbox if place.get("type") == "SELF" else launch.group_sandbox
        if root is None:
            raise LaunchError("A volume of type SANDBOX_PATH PARENT is for tasks of a group")
        return within(root, place["path"])
    raise LaunchError(
        f"Volume '{volume['container_path']}': source {kind or 'UNKNOWN'} is not supported for tasks without Docker"
    )


def within(root: Path, path: str) -> Path:
    """A directory below `root`, made if missing. Raises LaunchError for a path that leads out."""
    if path.startswith("/") or ".." in path.split("/"):
        raise LaunchError(f"Volume path '{path}' leads out of the sandbox")
    directory = root / path
    directory.mkdir(parents=True, exist_ok=True)
    if not directory.resolve().is_relative_to(root.resolve()):
        raise LaunchError(f"Volume path '{path}' leads out of the sandbox")
    return directory
