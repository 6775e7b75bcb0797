// What the cluster is now: loaded, kept up to date by the event stream, and by polling where the stream is away.
//
// Events are hints: whatever comes, the lists it may have changed are asked for again, at most four times a second. So a missed event
// costs time, never correctness, and a leader change or a laptop's sleep needs no reload.

import { api, BASE } from "./api";
import { Store } from "./store";
import type { App, Deployment, Info, QueueItem, StreamEvent } from "./types";

export interface Cluster {
  apps: App[];
  deployments: Deployment[];
  queue: QueueItem[];
  info: Info | null;
  leader: string | null;
  loadedAt: number; // ms since the epoch; 0: never
}

export interface Connection {
  state: "connecting" | "live" | "polling" | "stale";
  why: string;
}

const GATHER_MS = 250;
const POLL_MS = 5_000;
const POLL_WHEN_LIVE_MS = 30_000;
const STALE_AFTER_MS = 15_000;
const KEPT_EVENTS = 500;

export const cluster = new Store<Cluster>({ apps: [], deployments: [], queue: [], info: null, leader: null, loadedAt: 0 });
export const connection = new Store<Connection>({ state: "connecting", why: "" });
export const events = new Store<StreamEvent[]>([]);

let stream: EventSource | null = null;
let streaming = false;
let timer: number | undefined;
let loading = false;
let again = false;

export function start(): void {
  connect();
  void load();
  window.setInterval(watchStale, 1_000);
  window.addEventListener("online", wake);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
}

/** Asks for everything again, soon: after an action, or on a hint. */
export function refresh(delay = GATHER_MS): void {
  if (timer !== undefined) window.clearTimeout(timer);
  timer = window.setTimeout(() => void load(), delay);
}

function wake(): void {
  if (stream?.readyState === EventSource.CLOSED) connect();
  refresh(0);
}

async function load(): Promise<void> {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  try {
    const [apps, deployments, queue, info, leader] = await Promise.all([
      api.apps(),
      api.deployments(),
      api.queue(),
      api.info(),
      api.leader().then((body) => body.leader, () => null),
    ]);
    cluster.set({ apps: apps.apps, deployments, queue: queue.queue, info, leader, loadedAt: Date.now() });
    connection.set({ state: streaming ? "live" : "polling", why: "" });
  } catch (error) {
    noteFailure(error instanceof Error ? error.message : String(error));
  } finally {
    loading = false;
    if (again) {
      again = false;
      refresh();
    } else {
      refresh(streaming ? POLL_WHEN_LIVE_MS : POLL_MS);
    }
  }
}

function noteFailure(why: string): void {
  const loadedAt = cluster.value.loadedAt;
  const stale = loadedAt !== 0 && Date.now() - loadedAt > STALE_AFTER_MS;
  connection.set({ state: loadedAt === 0 ? "connecting" : stale ? "stale" : "polling", why });
}

function watchStale(): void {
  const loadedAt = cluster.value.loadedAt;
  const limit = (streaming ? POLL_WHEN_LIVE_MS : 0) + STALE_AFTER_MS;
  if (loadedAt && Date.now() - loadedAt > limit && connection.value.state !== "stale") {
    connection.set({ state: "stale", why: connection.value.why });
  }
}

function connect(): void {
  stream?.close();
  stream = new EventSource(`${BASE}/v2/events`);
  stream.onopen = () => {
    streaming = true;
    refresh(0);
  };
  stream.onerror = () => {
    streaming = false;
    if (stream?.readyState === EventSource.CLOSED) window.setTimeout(connect, POLL_MS);
    refresh();
  };
  for (const type of EVENT_TYPES) stream.addEventListener(type, onEvent);
}

function onEvent(message: MessageEvent<string>): void {
  const data = JSON.parse(message.data) as StreamEvent;
  events.set([{ ...data, id: message.lastEventId || `${data.timestamp}-${events.value.length}` }, ...events.value].slice(0, KEPT_EVENTS));
  refresh();
}

const EVENT_TYPES = [
  "api_post_event",
  "status_update_event",
  "instance_changed_event",
  "instance_health_changed_event",
  "instance_draining_event",
  "unknown_instance_terminated_event",
  "add_health_check_event",
  "remove_health_check_event",
  "failed_health_check_event",
  "health_status_changed_event",
  "unhealthy_instance_kill_event",
  "group_change_success",
  "group_change_failed",
  "deployment_success",
  "deployment_failed",
  "deployment_info",
  "deployment_step_success",
  "deployment_step_failure",
  "app_terminated_event",
  "pod_created_event",
  "pod_updated_event",
  "pod_deleted_event",
  "scheduler_registered_event",
  "scheduler_reregistered_event",
  "scheduler_disconnected_event",
];
