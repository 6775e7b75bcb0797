"""What the engine runs instances of: an app or a pod."""

from typing import TypeVar

from framework.model.app import App, VersionInfo
from framework.model.pod import Pod
from framework.model.values import replace

RunSpec = App | Pod
Spec = TypeVar("Spec", App, Pod)


def stamped(spec: Spec, before: Spec | None, now: str, *, restart: bool = False) -> Spec:
    """`spec` as it is to be kept: with the version of a new, changed, restarted or scaled one; `before` where nothing changed.

    A changed configuration (or a restart) moves lastConfigChangeAt, a changed count lastScalingAt; each moves the version.
    """
    if before is None or before.version_info is None:
        return replace(spec, version=now, version_info=VersionInfo(now, now))
    changed = restart or not before.same_config(spec)
    scaled = before.instances != spec.instances
    if not changed and not scaled:
        return before
    info = before.version_info
    return replace(
        spec,
        version=now,
        version_info=VersionInfo(
            last_scaling_at=now if scaled else info.last_scaling_at,
            last_config_change_at=now if changed else info.last_config_change_at,
        ),
    )
