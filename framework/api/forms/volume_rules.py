"""What volumes have to fulfil."""

import re
from collections.abc import Collection

from framework.api.forms import patterns
from framework.api.forms.rules import Document, Found

LABEL = r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$"
OPTION_KEY = r"^([a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?)(/[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?)*$"
_label, _option_key = re.compile(LABEL), re.compile(OPTION_KEY)
_PROVIDERS = ("dvdi", "csi")


def volumes_rules(found: Found, path: str, volumes: list[Document], *, docker: bool, secrets: Collection[str]) -> None:
    for index, volume in enumerate(volumes):
        at = f"{path}({index})"
        found.not_empty(f"{at}/containerPath", volume["containerPath"])
        if "persistent" in volume:
            _persistent_volume(found, at, volume)
        elif "external" in volume:
            _external_volume(found, at, volume["external"], docker=docker)
        elif "secret" in volume:
            if docker:
                found.add(at, "volume.secret needs a container of type MESOS")
            if volume["secret"] not in secrets:
                found.add(at, "volume.secret must refer to an existing secret")
        elif "hostPath" in volume:
            found.not_empty(f"{at}/hostPath", volume["hostPath"])
        else:
            found.add(at, "Unknown app volume type")
    names = [volume["external"].get("name") for volume in volumes if "external" in volume]
    found.unique(path, [name for name in names if name], "Volume names must be unique")


def _persistent_volume(found: Found, at: str, volume: Document) -> None:
    path = volume["containerPath"]
    if path in (".", ".."):
        found.add(f"{at}/containerPath", "must not be any of the following: ., ..")
    if "/" in path:
        found.add(f"{at}/containerPath", 'value must not contain "/"')
    if volume["mode"] != "RW":
        found.add(f"{at}/mode", f"got {volume['mode']}, expected RW")
    persistent_rules(found, f"{at}/persistent", volume["persistent"])


def persistent_rules(found: Found, at: str, info: Document) -> None:
    kind = info.get("type", "root")
    if info["size"] <= 0:
        found.add(f"{at}/size", f"got {info['size']}, expected more than 0")
    if info.get("maxSize") is not None:
        if kind != "mount":
            found.add(at, "Only mount volumes can have maxSize")
        if info["maxSize"] <= info["size"]:
            found.add(at, "Max size must be larger than size")
    constraints = info.get("constraints", [])
    if constraints and kind == "root":
        found.add(at, "Constraints on root volumes are not supported")
    for index, constraint in enumerate(constraints):
        _disk_constraint(found, f"{at}/constraints({index})", constraint)


def _disk_constraint(found: Found, at: str, constraint: list[str]) -> None:
    if len(constraint) != 3 or constraint[0] != "path":
        found.add(at, f"Unsupported constraint {','.join(constraint)}")
    elif constraint[1] not in ("LIKE", "UNLIKE"):
        found.add(at, "Operator must be one of LIKE, UNLIKE")
    elif patterns.problem(constraint[2]):
        found.add(at, "Invalid regular expression")


def _external_volume(found: Found, at: str, info: Document, *, docker: bool) -> None:
    provider, name, options = info.get("provider"), info.get("name"), info.get("options", {})
    if provider not in _PROVIDERS:
        found.add(f"{at}/external/provider", "is unknown provider")
        return
    if name is None:
        found.add(f"{at}/external/name", "not defined")
    elif not _label.fullmatch(name):
        found.add(f"{at}/external/name", f"must fully match regular expression '{LABEL}'")
    if any(not _option_key.fullmatch(key) for key in options):
        found.add(f"{at}/external/options", f"must fully match regular expression '{OPTION_KEY}'")
    if provider == "dvdi":
        if not options.get("dvdi/driver"):
            found.add(f"{at}/external/options", "must define dvdi/driver")
        if any(not isinstance(value, str) for value in options.values()):
            found.add(f"{at}/external/options", "the values of dvdi options are texts")
        if docker and info.get("size") is not None:
            found.add(f"{at}/external/size", "must be undefined for Docker containers")
    elif "pluginName" not in options:
        found.add(f"{at}/external/options", "must define pluginName")
