// What the pages work out from what the API answers. Pure.

import type { App, Deployment, Pod, PodInstance, PodSpec, QueueItem, Task } from "./types";

export type Status = "Running" | "Deploying" | "Suspended" | "Delayed" | "Waiting";
export const STATUSES: Status[] = ["Running", "Deploying", "Suspended", "Delayed", "Waiting"];

export type HealthKind = "healthy" | "unhealthy" | "unknown" | "staged" | "overcapacity" | "unscheduled";
export const HEALTH_KINDS: HealthKind[] = ["healthy", "unhealthy", "unknown", "staged", "overcapacity", "unscheduled"];
export type Health = Record<HealthKind, number>;

export function status(app: App, queued: QueueItem | undefined): Status {
  return statusOf(queued, Boolean(app.deployments?.length), app.instances === 0 && app.tasksRunning === 0);
}

export function podStatus(pod: Pod, queued: QueueItem | undefined, deployments: Deployment[]): Status {
  const deploying = deployments.some((deployment) => deployment.affectedPods?.includes(pod.id));
  return statusOf(queued, deploying, podInstances(pod) === 0 && pod.instances.length === 0);
}

function statusOf(queued: QueueItem | undefined, deploying: boolean, empty: boolean): Status {
  if (queued && !queued.delay.overdue && queued.delay.timeLeftSeconds > 0) return "Delayed";
  if (queued && queued.count > 0 && (queued.waitsFor || queued.processedOffersSummary.processedOffersCount > 0)) return "Waiting";
  if (deploying) return "Deploying";
  if (empty) return "Suspended";
  if (queued && queued.count > 0) return "Waiting";
  return "Running";
}

/** How many instances are wanted. */
export function podInstances(pod: Pod): number {
  return pod.spec.scaling?.instances ?? 1;
}

/** What one instance takes, its executor aside. */
export function podResources(pod: Pod): { cpus: number; mem: number } {
  const of = (what: "cpus" | "mem") => pod.spec.containers.reduce((sum, container) => sum + (container.resources?.[what] ?? 0), 0);
  return { cpus: of("cpus"), mem: of("mem") };
}

export function podInstanceHealth(instance: PodInstance): "healthy" | "unhealthy" | "unknown" | "staged" {
  if (instance.status === "PENDING" || instance.status === "STAGING") return "staged";
  if (instance.status !== "STABLE") return "unhealthy";
  return instance.containers.some((container) => container.conditions.length > 0) ? "healthy" : "unknown";
}

export function podHealth(pod: Pod): Health {
  const sum: Health = { healthy: 0, unhealthy: 0, unknown: 0, staged: 0, overcapacity: 0, unscheduled: 0 };
  for (const instance of pod.instances) sum[podInstanceHealth(instance)] += 1;
  const over = Math.max(0, pod.instances.length - podInstances(pod));
  // What is beyond the wanted count shows once, as that.
  for (const kind of ["healthy", "unknown"] as const) {
    const taken = Math.min(sum[kind], over - sum.overcapacity);
    sum[kind] -= taken;
    sum.overcapacity += taken;
  }
  sum.unscheduled = Math.max(0, podInstances(pod) - pod.instances.length);
  return sum;
}

/** The containers of a pod in the shape of an app's tasks. */
export function podTasks(pod: Pod): Task[] {
  return pod.instances.flatMap((instance) =>
    instance.containers.map((container): Task => {
      const healthy = container.conditions.find((condition) => condition.name === "healthy");
      return {
        id: container.containerId,
        appId: pod.id,
        slaveId: instance.agentId,
        host: instance.agentHostname,
        state: container.status,
        startedAt: container.statusSince,
        version: instance.specReference.split("::versions/")[1] ?? "",
        ports: container.endpoints.flatMap((endpoint) => endpoint.allocatedHostPort ?? []),
        ipAddresses: instance.networks.flatMap((network) => network.addresses).map((ipAddress) => ({ ipAddress, protocol: "IPv4" })),
        healthCheckResults: healthy ? [{ alive: healthy.value === "true", consecutiveFailures: 0 }] : [],
      };
    }),
  );
}

/** A pod's answer as a person would have written it. */
export function podDefinition({ version, ...definition }: PodSpec): Record<string, unknown> {
  void version;
  return definition;
}

/** Instances by health; all together at least what is wanted. What runs beyond the wanted count shows as over capacity. */
export function health(app: App): Health {
  const unknown = Math.max(0, app.tasksRunning - app.tasksHealthy - app.tasksUnhealthy);
  const total = app.tasksStaged + app.tasksRunning;
  const over = Math.max(0, total - app.instances);
  return {
    healthy: Math.max(0, app.tasksHealthy - Math.min(over, app.tasksHealthy)),
    unhealthy: app.tasksUnhealthy,
    unknown: Math.max(0, unknown - Math.max(0, over - app.tasksHealthy)),
    staged: app.tasksStaged,
    overcapacity: over,
    unscheduled: Math.max(0, app.instances - total),
  };
}

export function addHealth(all: Health[]): Health {
  const sum: Health = { healthy: 0, unhealthy: 0, unknown: 0, staged: 0, overcapacity: 0, unscheduled: 0 };
  for (const one of all) for (const kind of HEALTH_KINDS) sum[kind] += one[kind];
  return sum;
}

export function taskHealth(task: Task, draining: ReadonlySet<string>): "healthy" | "unhealthy" | "unknown" | "draining" {
  if (draining.has(task.id)) return "draining";
  const results = task.healthCheckResults ?? [];
  if (results.length === 0) return "unknown";
  return results.every((result) => result.alive) ? "healthy" : "unhealthy";
}

export interface Row {
  kind: "group" | "app";
  id: string;
  apps: App[];
}

/** What is directly inside a group: its groups first, then its apps, each by name. */
export function rowsOf(apps: App[], group: string): Row[] {
  const prefix = group === "/" ? "/" : `${group}/`;
  const groups = new Map<string, App[]>();
  const direct: App[] = [];
  for (const app of apps) {
    if (!app.id.startsWith(prefix)) continue;
    const rest = app.id.slice(prefix.length);
    const slash = rest.indexOf("/");
    if (slash < 0) direct.push(app);
    else {
      const id = prefix + rest.slice(0, slash);
      groups.set(id, [...(groups.get(id) ?? []), app]);
    }
  }
  return [
    ...[...groups].map(([id, members]): Row => ({ kind: "group", id, apps: members })).sort(byId),
    ...direct.map((app): Row => ({ kind: "app", id: app.id, apps: [app] })).sort(byId),
  ];
}

export function flatRows(apps: App[]): Row[] {
  return apps.map((app): Row => ({ kind: "app", id: app.id, apps: [app] })).sort(byId);
}

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

export function hasVolumes(app: App): boolean {
  return ((app.container?.volumes as unknown[] | undefined) ?? []).length > 0;
}

/** `key`, `key==value`, `key:value` against an app's labels. */
export function matchesLabel(app: App, wanted: string): boolean {
  const match = /^([^=:]+)(?:==?|:)?(.*)$/.exec(wanted.trim());
  if (!match) return true;
  const [, key = "", value = ""] = match;
  const found = app.labels?.[key.trim()];
  return found !== undefined && (value === "" || found === value.trim());
}

export interface Change {
  path: string;
  before: unknown;
  after: unknown;
}

/** What differs between two JSON values, by path; arrays are compared by position. */
export function diff(before: unknown, after: unknown, path = ""): Change[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) => diff(before[key], after[key], `${path}/${key}`));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    const length = Math.max(before.length, after.length);
    return Array.from({ length }, (_, index) => diff(before[index], after[index], `${path}(${index})`)).flat();
  }
  return [{ path: path || "/", before, after }];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An app's answer without what the server adds: what a person would have written. */
export function definitionOf(app: App): Record<string, unknown> {
  const { version, versionInfo, tasksStaged, tasksRunning, tasksHealthy, tasksUnhealthy, deployments, tasks, lastTaskFailure, ...rest } = app;
  void [version, versionInfo, tasksStaged, tasksRunning, tasksHealthy, tasksUnhealthy, deployments, tasks, lastTaskFailure];
  const { taskStats, tasksStats, readinessCheckResults, fullyQualifiedId, ...definition } = rest as Record<string, unknown>;
  void [taskStats, tasksStats, readinessCheckResults, fullyQualifiedId];
  return definition;
}
