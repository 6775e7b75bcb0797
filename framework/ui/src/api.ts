// Calls of the REST API.

import { BASE } from "./base";
import { headers, type Me } from "./session";
import type {
  Agent, App, Daemon, Deployment, Info, JournalEntry, Json, JsonObject, Pod, PodSpec, QueueItem, SandboxFile, ServiceInstance, Services, Task, TaskStats, Volume,
} from "./types";

export interface Problem {
  path: string;
  errors: string[];
}

/** What the server said no to: its message, and for each wrong field where it is and why. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly problems: Problem[] = [],
    readonly lockedBy: string[] = [],
  ) {
    super(message);
  }
}

/** An app's id as a path: `/shop/web` -> `shop/web`, each segment escaped. */
export function idPath(id: string): string {
  return id.split("/").filter(Boolean).map(encodeURIComponent).join("/");
}

async function call<T>(method: string, path: string, body?: Json): Promise<T> {
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers: { Accept: "application/json", ...headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      credentials: "omit", // or the browser would ask for a password in its own way
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "the server does not answer");
  }
  const text = await response.text();
  let parsed: unknown = null;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    parsed = null;
  }
  if (!response.ok) throw explain(response.status, parsed as JsonObject | null, text);
  return parsed as T;
}

function explain(status: number, body: JsonObject | null, text: string): ApiError {
  const message = typeof body?.message === "string" ? body.message : text.slice(0, 300) || `error ${status}`;
  const details = Array.isArray(body?.details) ? (body.details as unknown as Problem[]) : [];
  const locks = Array.isArray(body?.deployments) ? (body.deployments as { id: string }[]).map((item) => item.id) : [];
  const detail = typeof body?.details === "string" ? `${message}: ${body.details}` : message;
  return new ApiError(status, detail, details.filter((item) => item && Array.isArray(item.errors)), locks);
}

export interface DeploymentResult {
  version: string;
  deploymentId: string;
}

function query(values: Record<string, string>): string {
  return new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
}

/** A file of a sandbox as a whole. */
export async function download(task: string, path: string, agent = ""): Promise<Blob> {
  const response = await fetch(`${BASE}/v2/tasks/${encodeURIComponent(task)}/files/download?${query({ path, agent })}`, { headers: headers(), credentials: "omit" });
  if (!response.ok) throw explain(response.status, null, await response.text());
  return response.blob();
}

const forced = (force: boolean) => (force ? "?force=true" : "");

export const api = {
  apps: () => call<{ apps: App[] }>("GET", "/v2/apps?embed=apps.counts&embed=apps.deployments&embed=apps.lastTaskFailure"),
  app: (id: string) => call<{ app: App }>("GET", `/v2/apps/${idPath(id)}?embed=app.tasks&embed=app.counts&embed=app.deployments&embed=app.lastTaskFailure`),
  appInList: (id: string) => call<{ app: App }>("GET", `/v2/apps/${idPath(id)}?embed=app.counts&embed=app.deployments&embed=app.lastTaskFailure`),
  stats: (id: string) => call<{ app: { tasksStats?: Record<string, TaskStats> } }>("GET", `/v2/apps/${idPath(id)}?embed=app.taskStats`),
  volumes: (id: string) => call<{ volumes: Volume[] }>("GET", `/v2/volumes?app=${encodeURIComponent(id)}`),
  pods: () => call<Pod[]>("GET", "/v2/pods::status"),
  pod: (id: string) => call<Pod>("GET", `/v2/pods/${idPath(id)}::status`),
  podVersions: (id: string) => call<string[]>("GET", `/v2/pods/${idPath(id)}::versions`),
  podVersion: (id: string, version: string) => call<PodSpec>("GET", `/v2/pods/${idPath(id)}::versions/${encodeURIComponent(version)}`),
  createPod: (pod: JsonObject, force = false) => call<PodSpec>("POST", `/v2/pods${forced(force)}`, pod),
  updatePod: (id: string, pod: JsonObject, force = false) => call<PodSpec>("PUT", `/v2/pods/${idPath(id)}${forced(force)}`, pod),
  destroyPod: (id: string, force = false) => call<unknown>("DELETE", `/v2/pods/${idPath(id)}${forced(force)}`),
  killPodInstances: (id: string, instances: string[], wipe: boolean) => call<unknown>("DELETE", `/v2/pods/${idPath(id)}::instances?wipe=${wipe}`, instances),
  me: () => call<Me>("GET", "/v2/me"),
  daemons: () => call<{ daemons: Daemon[] }>("GET", "/v2/daemons"),
  agents: () => call<{ agents: Agent[] }>("GET", "/v2/agents"),
  drain: (id: string) => call<unknown>("POST", `/v2/agents/${encodeURIComponent(id)}/drain`),
  undrain: (id: string) => call<unknown>("DELETE", `/v2/agents/${encodeURIComponent(id)}/drain`),
  services: () => call<Services>("GET", "/v2/services"),
  service: (name: string) => call<{ instances: ServiceInstance[] }>("GET", `/v2/services/${encodeURIComponent(name)}`),
  journal: (app: string) => call<{ journal: JournalEntry[] }>("GET", `/v2/autoscale/journal?most=500&app=${encodeURIComponent(app)}`),
  allTasks: () => call<{ tasks: Task[] }>("GET", "/v2/tasks"),
  files: (task: string, path: string, agent = "") =>
    call<{ files: SandboxFile[] }>("GET", `/v2/tasks/${encodeURIComponent(task)}/files?${query({ path, agent })}`),
  readFile: (task: string, path: string, offset: number, agent = "") =>
    call<{ data: string; offset: number }>("GET", `/v2/tasks/${encodeURIComponent(task)}/files/read?${query({ path, offset: String(offset), agent })}`),
  tasks: (id: string) => call<{ tasks: Task[] }>("GET", `/v2/apps/${idPath(id)}/tasks`),
  versions: (id: string) => call<{ versions: string[] }>("GET", `/v2/apps/${idPath(id)}/versions`),
  version: (id: string, version: string) => call<App>("GET", `/v2/apps/${idPath(id)}/versions/${encodeURIComponent(version)}`),
  deployments: () => call<Deployment[]>("GET", "/v2/deployments"),
  queue: () => call<{ queue: QueueItem[] }>("GET", "/v2/queue"),
  info: () => call<Info>("GET", "/v2/info"),
  leader: () => call<{ leader: string }>("GET", "/v2/leader"),
  create: (app: JsonObject, force = false) => call<App>("POST", `/v2/apps${forced(force)}`, app),
  update: (id: string, app: JsonObject, force = false) =>
    call<DeploymentResult>("PUT", `/v2/apps/${idPath(id)}?partialUpdate=false${force ? "&force=true" : ""}`, app),
  scale: (id: string, instances: number, force = false) => call<DeploymentResult>("PUT", `/v2/apps/${idPath(id)}${forced(force)}`, { instances }),
  rollback: (id: string, version: string, force = false) => call<DeploymentResult>("PUT", `/v2/apps/${idPath(id)}${forced(force)}`, { version }),
  restart: (id: string, force = false) => call<DeploymentResult>("POST", `/v2/apps/${idPath(id)}/restart${forced(force)}`),
  destroy: (id: string, force = false) => call<DeploymentResult>("DELETE", `/v2/apps/${idPath(id)}?force=${force}`),
  createGroup: (id: string) => call<DeploymentResult>("POST", "/v2/groups", { id }),
  destroyGroup: (id: string, force = false) => call<DeploymentResult>("DELETE", `/v2/groups/${idPath(id)}${forced(force)}`),
  resetDelay: (id: string) => call<null>("DELETE", `/v2/queue/${idPath(id)}/delay`),
  kill: (ids: string[], scale: boolean, wipe: boolean, force = false) =>
    call<unknown>("POST", `/v2/tasks/delete?scale=${scale}&wipe=${wipe}&force=${force}`, { ids }),
  go: (id: string, force: boolean) => call<unknown>("POST", `/v2/deployments/${encodeURIComponent(id)}/go${forced(force)}`),
  cancelDeployment: (id: string, force: boolean) => call<unknown>("DELETE", `/v2/deployments/${encodeURIComponent(id)}${forced(force)}`),
};
