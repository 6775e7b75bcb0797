"""What a master checks before it believes a framework: FrameworkInfo, offers, tasks. Pure; each check answers with the
problem in Mesos's words, or None.
"""

from collections.abc import Collection
from typing import Any

from embedded.mesos.resources import Resources, problem_of, show

Json = dict[str, Any]

UNCHANGING = ("user", "checkpoint")  # of a FrameworkInfo
LONGEST_ID = 255
EXECUTOR_CPUS, EXECUTOR_MEM = 0.01, 32  # the least that an executor needs
LONGEST_DURATION = 9_223_372_036.0  # seconds that fit into nanoseconds of 64 bits


# Frameworks


def framework_problem(info: Json, suppressed_roles: Collection[str] = ()) -> str | None:
    multi_role = {"type": "MULTI_ROLE"} in info.get("capabilities", [])
    return (
        _roles_problem(info, multi_role)
        or (id_problem(info["id"]["value"]) if info.get("id", {}).get("value") else None)
        or _failover_problem(info["failover_timeout"])
        or _suppressed_problem(info, suppressed_roles)
    )


def principal_problem(old: Json, new: Json) -> str | None:
    if old.get("principal") != new.get("principal"):
        return "Changing framework's principal is not allowed."
    return None


def update_problem(old: Json, new: Json) -> str | None:
    """What UPDATE_FRAMEWORK may not change. (A framework that subscribes again may say so; its old values stay.)"""
    for field in UNCHANGING:
        if old.get(field) != new.get(field):
            before, after = (str(info.get(field)) for info in (old, new))
            if isinstance(new.get(field), bool):
                before, after = before.lower(), after.lower()
            return f"Updating 'FrameworkInfo.{field}' is unsupported; attempted to update from '{before}' to '{after}'"
    return principal_problem(old, new)


def roles_of(info: Json) -> list[str]:
    """The roles that a FrameworkInfo subscribes for."""
    if {"type": "MULTI_ROLE"} in info.get("capabilities", []):
        return list(info.get("roles", []))
    return [info.get("role", "*")]


def _roles_problem(info: Json, multi_role: bool) -> str | None:
    if multi_role:
        if "role" in info:
            return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
        roles = info.get("roles", [])
        twice = sorted({role for role in roles if roles.count(role) > 1})
        if twice:
            return f"'FrameworkInfo.roles' contains duplicate items: {{ {', '.join(twice)} }}"
        for role in roles:
            problem = role_problem(role)
            if problem:
                return f"'FrameworkInfo.roles' contains invalid role: {problem}"
        return None
    if info.get("roles"):
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    problem = role_problem(info.get("role", "*"))
    return f"'FrameworkInfo.role' is not a valid role: {problem}" if problem else None


def role_problem(role: str) -> str | None:
    if role == "*":
        return None
    if not role:
        return "Role names cannot be the empty string"
    if role.startswith("/"):
        return f"Role '{role}' cannot start with a slash"
    if role.endswith("/"):
        return f"Role '{role}' cannot end with a slash"
    if "//" in role:
        return f"Role '{role}' cannot contain two adjacent slashes"
    for part in role.split("/"):
        if part in (".", "..", "*"):
            return f"Role '{role}' cannot include '{part}' as a component"
        if part.startswith("-"):
            return f"Role component '{part}' is invalid because it starts with a dash"
        if any(character in "\b\t\n\v\f\r " for character in part):
            return f"Role component '{part}' is invalid because it contains backspace or whitespace"
    return None


def _failover_problem(seconds: float) -> str | None:
    if abs(seconds) > LONGEST_DURATION:
        return f"The framework failover_timeout ({seconds:g}) is invalid"
    return None


def _suppressed_problem(info: Json, suppressed_roles: Collection[str]) -> str | None:
    roles = roles_of(info)
    strange = next((role for role in suppressed_roles if role not in roles), None)
    return None if strange is None else f"Suppressed role '{strange}' is not contained in the list of roles"


def id_problem(id: str) -> str | None:
    if not id:
        return "ID must not be empty"
    if len(id) > LONGEST_ID:
        return f"ID must not be greater than {LONGEST_ID} characters"
    if id in (".", ".."):
        return f"'{id}' is disallowed"
    if any(character in "/\\" or ord(character) < 32 or ord(character) == 127 for character in id):
        return f"'{id}' contains invalid characters"
    return None


# Tasks


def task_problem(
    task: Json,
    *,
    agent_id: str,
    task_ids: Collection[str],
    available: Resources,
    roles: Collection[str],
    executor: Json | None = None,
    executor_known: bool = False,
) -> str | None:
    """Why the task cannot be launched on the agent with what is `available` (None: it can).

    `task_ids` are those of the framework's tasks; `executor` is that of a task group, whose resources the caller counts.
    """
    return (
        id_problem(task["task_id"]["value"])
        or _duplicate_problem(task, task_ids)
        or _agent_problem(task, agent_id)
        or _kill_policy_problem(task)
        or _max_completion_problem(task)
        or _check_problem(task)
        or _health_check_problem(task)
        or _resources_problem(task)
        or (None if executor else _command_or_executor_problem(task))
        or (command_problem(task["command"]) if "command" in task else None)
        or _container_problem(task)
        or _fit_problem(task, available, executor_known)
        or _allocation_problem(task, roles)
    )


def executor_problem(executor: Json) -> str | None:
    """What a task group's executor must be: big enough, and of a known type."""
    name = executor["executor_id"]["value"]
    problem = id_problem(name)
    if problem:
        return problem
    if executor.get("type", "UNKNOWN") == "UNKNOWN":
        return "'ExecutorInfo.type' must be set to a known type"
    if executor["type"] == "DEFAULT" and "command" in executor:
        return "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"
    if executor["type"] == "CUSTOM" and "command" not in executor:
        return "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
    for item in executor.get("resources", []):
        problem = problem_of(item)
        if problem:
            return problem
    amounts = Resources.from_json(executor.get("resources", []))
    for resource in ("cpus", "mem", "disk"):
        if amounts.thousandths(resource) == 0:
            return f"Executor '{name}' uses no {resource}"
        if resource == "mem" and amounts.scalar("mem") < EXECUTOR_MEM:
            shown = f"{amounts.scalar('mem'):g}"
            return f"Executor '{name}' uses less memory ({shown}MB) than the minimum required ({EXECUTOR_MEM}MB)"
        if resource == "cpus" and amounts.scalar("cpus") < EXECUTOR_CPUS:
            shown = f"{amounts.scalar('cpus'):g}"
            return f"Executor '{name}' uses less CPUs ({shown}) than the minimum required ({EXECUTOR_CPUS:g})"
    return None


def _duplicate_problem(task: Json, task_ids: Collection[str]) -> str | None:
    task_id = task["task_id"]["value"]
    return f"Task has duplicate ID: {task_id}" if task_id in task_ids else None


def _agent_problem(task: Json, agent_id: str) -> str | None:
    wanted = task["agent_id"]["value"]
    return None if wanted == agent_id else f"Task uses invalid agent {wanted} while agent {agent_id} is expected"


def _kill_policy_problem(task: Json) -> str | None:
    period = task.get("kill_policy", {}).get("grace_period")
    if period and period["nanoseconds"] < 0:
        return "Task's 'kill_policy.grace_period' must be non-negative"
    return None


def _max_completion_problem(task: Json) -> str | None:
    if task.get("max_completion_time", {}).get("nanoseconds", 0) < 0:
        return "Task's `max_completion_time` must be non-negative"
    return None


def _check_problem(task: Json) -> str | None:
    if "check" not in task:
        return None
    check = task["check"]
    kind = check.get("type", "UNKNOWN")
    problem: str | None = None
    if kind == "UNKNOWN":
        problem = "CheckInfo must specify 'type'" if "type" not in check else "'UNKNOWN' is not a valid check type"
    elif kind.lower() not in check:
        problem = f"Expecting '{kind.lower()}' to be set for {kind} check"
    elif kind == "COMMAND" and "value" not in check["command"]["command"]:
        problem = "Command check must contain 'shell command'"
    elif kind == "HTTP" and not check["http"].get("path", "/").startswith("/"):
        problem = f"The path '{check['http']['path']}' of HTTP check must start with '/'"
    else:
        problem = _durations_problem(check, ("delay_seconds", "interval_seconds", "timeout_seconds"))
    return f"Task uses invalid check: {problem}" if problem else None


def _health_check_problem(task: Json) -> str | None:
    if "health_check" not in task:
        return None
    check = task["health_check"]
    kind = check.get("type")
    problem: str | None = None
    if kind is None:
        problem = "HealthCheck must specify 'type'"
    elif kind == "UNKNOWN":
        problem = "'UNKNOWN' is not a valid health check type"
    elif kind.lower() not in check:
        problem = f"Expecting '{kind.lower()}' to be set for {kind} health check"
    elif kind == "COMMAND" and "value" not in check["command"]:
        problem = "Command health check must contain 'shell command'"
    elif kind == "HTTP" and check["http"].get("scheme", "http") not in ("http", "https"):
        problem = f"Unsupported HTTP health check scheme: '{check['http']['scheme']}'"
    elif kind == "HTTP" and not check["http"].get("path", "/").startswith("/"):
        problem = f"The path '{check['http']['path']}' of HTTP health check must start with '/'"
    else:
        seconds = ("delay_seconds", "grace_period_seconds", "interval_seconds", "timeout_seconds")
        problem = _durations_problem(check, seconds)
    return f"Task uses invalid health check: {problem}" if problem else None


def _durations_problem(check: Json, names: Collection[str]) -> str | None:
    negative = next((name for name in names if check.get(name, 0.0) < 0), None)
    return f"Expecting '{negative}' to be non-negative" if negative else None


def _resources_problem(task: Json) -> str | None:
    for item in [*task.get("resources", []), *task.get("executor", {}).get("resources", [])]:
        problem = problem_of(item)
        if problem:
            return problem
    return None if task.get("resources") else "Task uses no resources"


def _command_or_executor_problem(task: Json) -> str | None:
    if ("command" in task) == ("executor" in task):
        return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    return None


def command_problem(command: Json) -> str | None:
    for variable in command.get("environment", {}).get("variables", []):
        kind, name = variable["type"], variable["name"]
        problem = None
        if kind == "UNKNOWN":
            problem = "of type 'UNKNOWN' is not allowed"
        elif kind == "VALUE" and "secret" in variable:
            problem = "of type 'VALUE' must not have a secret set"
        elif kind == "VALUE" and "value" not in variable:
            problem = "of type 'VALUE' must have a value set"
        elif kind == "SECRET" and "secret" not in variable:
            problem = "of type 'SECRET' must have a secret set"
        elif kind == "SECRET" and "value" in variable:
            problem = "of type 'SECRET' must not have a value set"
        if problem:
            return f"Task's `CommandInfo` is invalid: Environment variable '{name}' {problem}"
    return None


def _container_problem(task: Json) -> str | None:
    if "container" not in task:
        return None
    container = task["container"]
    problem = None
    if container["type"] == "DOCKER":
        if "docker" not in container:
            problem = "DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"
        elif "mesos" in container:
            problem = "MesosInfo 'mesos' is set for DOCKER typed ContainerInfo"
    elif "docker" in container:
        problem = "DockerInfo 'docker' is set for MESOS typed ContainerInfo"
    return f"Task's `ContainerInfo` is invalid: {problem}" if problem else None


def _fit_problem(task: Json, available: Resources, executor_known: bool) -> str | None:
    items = list(task["resources"])
    if not executor_known:
        items += task.get("executor", {}).get("resources", [])
    role = next((i["allocation_info"]["role"] for i in items if i.get("allocation_info", {}).get("role")), None)
    wanted = Resources.from_json(items)
    if available.contains(wanted):
        return None
    needs = "; ".join(map(show, wanted.to_json(allocated_to=role)))
    has = "; ".join(map(show, available.to_json(allocated_to=role)))
    return f"Total resources {needs} required by task and its executor is more than available {has}"


def _allocation_problem(task: Json, roles: Collection[str]) -> str | None:
    """Resources are allocated to the offer's role; one that says another cannot come out of it."""
    for item in task["resources"]:
        role = item.get("allocation_info", {}).get("role")
        if role is not None and role not in roles:
            return f"Total resources {show(item)} required by task and its executor is more than available"
    return None
