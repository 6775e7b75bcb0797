"""What an agent knows, in the two forms that it is read: the short form of /state, and v1 messages."""

import os
import time
from collections import Counter
from typing import Any

from embedded.mesos import render
from embedded.mesos.agent import Agent
from embedded.mesos.records import TERMINAL
from embedded.mesos.resources import Resources, summary
from embedded.mesos.task_run import TaskRun

Json = dict[str, Any]


def runs_of(agent: Agent) -> list[TaskRun]:
    """Those that have not ended."""
    return [run for run in agent.runs.values() if not run.ended]


def ended_of(agent: Agent) -> list[TaskRun]:
    """Those that have ended, acknowledged or not; the newest last."""
    return [*(completed.run for completed in agent.completed), *(run for run in agent.runs.values() if run.ended)]


def used(agent: Agent) -> Resources:
    return render.total(Resources.from_json(run.launch.task["resources"]) for run in runs_of(agent))


# The short form


def state(agent: Agent) -> Json:
    info = agent.info
    total = Resources.from_json(info["resources"])
    shown: Json = {
        "id": agent.id,
        "pid": agent.address.pid,
        "hostname": info["hostname"],
        "version": render.VERSION,
        "build_date": render.BUILT,
        "build_time": render.BUILD_TIME,
        "build_user": "dromos",
        "start_time": agent.started_at,
        "attributes": render.short_attributes(info.get("attributes", [])),
        "resources": summary(total),
        "unreserved_resources": summary(total.by_role().get("*", Resources())),
        "reserved_resources": {role: summary(part) for role, part in total.by_role().items() if role != "*"},
        "flags": flags(agent),
        "frameworks": _frameworks(agent, runs_of(agent), ended_of(agent), of=runs_of(agent)),
        "completed_frameworks": _frameworks(agent, [], ended_of(agent), of=_of_frameworks_without_tasks(agent)),
    }
    if "domain" in info:
        shown["domain"] = info["domain"]
    return shown


def flags(agent: Agent) -> dict[str, str]:
    """By Mesos' names and in its units."""
    settings = agent.settings
    return {
        "cgroups_enable_cfs": str(settings.cgroups_enable_cfs).lower(),
        "cgroups_root": settings.cgroups_root,
        "containerizers": "docker,mesos",
        "docker_remove_delay": "0ns",
        "docker_stop_timeout": f"{settings.docker_stop_timeout:g}secs",
        "fetcher_cache_dir": str(agent.layout.work_dir / "fetch"),
        "fetcher_cache_size": f"{settings.fetch_cache_bytes}B",
        "gc_delay": f"{settings.sandbox_keep:g}secs",
        "hostname": agent.info["hostname"],
        "ip": agent.address.host,
        "port": str(agent.address.port),
        "sandbox_directory": "/mnt/mesos/sandbox",
        "switch_user": "true",
        "work_dir": str(agent.layout.work_dir),
    }


def _frameworks(agent: Agent, running: list[TaskRun], ended: list[TaskRun], of: list[TaskRun]) -> list[Json]:
    """The frameworks of the tasks `of`, with what is running and what has ended of them."""
    infos = {run.framework_id: run.launch.framework for run in of}
    return [
        {
            "id": framework_id,
            "name": info.get("name", ""),
            "user": info.get("user", ""),
            "failover_timeout": info.get("failover_timeout", 0.0),
            "checkpoint": info.get("checkpoint", False),
            "hostname": info.get("hostname", ""),
            "principal": info.get("principal", ""),
            "roles": info.get("roles") or [info.get("role", "*")],
            "executors": _executors(agent, [run for run in running if run.framework_id == framework_id], ended=False),
            "completed_executors": _executors(
                agent, [run for run in ended if run.framework_id == framework_id], ended=True
            ),
        }
        for framework_id, info in infos.items()
    ]


def _of_frameworks_without_tasks(agent: Agent) -> list[TaskRun]:
    running = {run.framework_id for run in runs_of(agent)}
    return [run for run in ended_of(agent) if run.framework_id not in running]


def _executors(agent: Agent, runs: list[TaskRun], *, ended: bool) -> list[Json]:
    """A task without an executor of its own has one that Mesos makes for it, with the task's id."""
    by_container: dict[str, list[TaskRun]] = {}
    for run in runs:
        by_container.setdefault(run.group or run.launch.container_id, []).append(run)
    shown = []
    for container, members in by_container.items():
        first = members[0]
        tasks = [render.short_task(run.as_task()) | {"executor_id": run.executor_id} for run in members]
        shown.append(
            {
                "id": first.executor_id,
                "name": agent.executor_name(first),
                "source": first.task_id if not first.group else "",
                "container": container,
                "directory": str(first.launch.group_sandbox or first.launch.sandbox),
                "type": "DEFAULT" if first.group else "CUSTOM",
                "resources": summary(
                    render.total(Resources.from_json(run.launch.task["resources"]) for run in members)
                ),
                "role": first.role,
                "tasks": [] if ended else tasks,
                "queued_tasks": [],
                "completed_tasks": tasks if ended else [],
            }
        )
    return shown


def containers(agent: Agent) -> list[Json]:
    """/containers"""
    usage = {(item["framework_id"], item["source"]): item["statistics"] for item in agent.usage()}
    return [
        {
            "container_id": run.launch.container_id,
            "executor_id": run.executor_id,
            "executor_name": agent.executor_name(run),
            "framework_id": run.framework_id,
            "source": run.task_id,
            "statistics": usage.get((run.framework_id, run.task_id), {}),
            "status": {
                "container_id": {"value": run.launch.container_id},
                **(run.container.status if run.container else {}),
            },
        }
        for run in runs_of(agent)
    ]


def metrics(agent: Agent) -> dict[str, float]:
    """/metrics/snapshot"""
    total, in_use = Resources.from_json(agent.info["resources"]), used(agent)
    states = Counter(run.state for run in runs_of(agent))
    ends = Counter(run.state for run in ended_of(agent))
    memory_page = os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()
    found = {
        "slave/registered": 1.0 if agent.id else 0.0,
        "slave/uptime_secs": time.time() - agent.started_at,
        "slave/executors_running": float(len(runs_of(agent))),
        "slave/frameworks_active": float(len({run.framework_id for run in runs_of(agent)})),
        "system/cpus_total": float(os.cpu_count() or 1),
        "system/load_1min": load[0],
        "system/load_5min": load[1],
        "system/load_15min": load[2],
        "system/mem_total_bytes": float(memory_page * os.sysconf("SC_PHYS_PAGES")),
        "system/mem_free_bytes": float(memory_page * os.sysconf("SC_AVPHYS_PAGES")),
    }
    for state_name in ("STAGING", "STARTING", "RUNNING", "KILLING"):
        found[f"slave/tasks_{state_name.lower()}"] = float(states[f"TASK_{state_name}"])
    for state_name in ("FINISHED", "FAILED", "KILLED", "LOST", "ERROR", "GONE"):
        found[f"slave/tasks_{state_name.lower()}"] = float(ends[f"TASK_{state_name}"])
    for name in ("cpus", "mem", "disk", "gpus"):
        have, use = total.scalar(name), in_use.scalar(name)
        found |= {
            f"slave/{name}_total": have,
            f"slave/{name}_used": use,
            f"slave/{name}_percent": use / have if have else 0.0,
        }
    return found


# v1


def agent_info(agent: Agent) -> Json:
    return dict(agent.info)


def get_state(agent: Agent) -> Json:
    return {
        "get_tasks": get_tasks(agent),
        "get_executors": get_executors(agent),
        "get_frameworks": get_frameworks(agent),
    }


def get_tasks(agent: Agent) -> Json:
    waiting = [run for run in agent.runs.values() if run.state in TERMINAL]
    return {
        "launched_tasks": [run.to_json() for run in runs_of(agent)],
        "terminated_tasks": [run.to_json() for run in waiting],
        "completed_tasks": [completed.task for completed in agent.completed],
    }


def get_executors(agent: Agent) -> Json:
    return {
        "executors": [{"executor_info": _executor_info(agent, run)} for run in runs_of(agent)],
        "completed_executors": [{"executor_info": _executor_info(agent, run)} for run in ended_of(agent)],
    }


def _executor_info(agent: Agent, run: TaskRun) -> Json:
    return {
        "executor_id": {"value": run.executor_id},
        "framework_id": {"value": run.framework_id},
        "name": agent.executor_name(run),
        "source": run.task_id,
        "resources": run.launch.task["resources"],
    }


def get_frameworks(agent: Agent) -> Json:
    running = {run.framework_id: run.launch.framework for run in runs_of(agent)}
    ended = {run.framework_id: run.launch.framework for run in ended_of(agent) if run.framework_id not in running}
    return {
        "frameworks": [{"framework_info": info} for info in running.values()],
        "completed_frameworks": [{"framework_info": info} for info in ended.values()],
    }


def get_containers(agent: Agent) -> Json:
    return {
        "containers": [
            {
                "container_id": {"value": item["container_id"]},
                "framework_id": {"value": item["framework_id"]},
                "executor_id": {"value": item["executor_id"]},
                "executor_name": item["executor_name"],
                "container_status": item["status"],
                "resource_statistics": item["statistics"],
            }
            for item in containers(agent)
        ]
    }
