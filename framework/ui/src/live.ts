// What the cluster is now: loaded, kept up to date by the event stream, and by polling where the stream is away.
//
// Events are hints: whatever comes, what it may have changed is asked for again, the apps it names or all of them. So a missed event
// costs time, never correctness, and a leader change or a laptop's sleep needs no reload.

import { api, ApiError } from "./api";
import { authorization, me, unknown } from "./session";
import { Store } from "./store";
import { follow, type Message } from "./stream";
import type { App, Deployment, Info, Pod, QueueItem, StreamEvent } from "./types";

export interface Cluster {
  apps: App[];
  pods: Pod[];
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

const FIRST_LOAD_MS = 100; // unless the stream opens sooner: what is loaded before that would have to be loaded again
const GATHER_MS = 150;
const POLL_MS = 5_000;
const POLL_WHEN_LIVE_MS = 30_000;
const RETRY_MS = 1_000;
const STALE_AFTER_MS = 4_000; // without an answer, when one is due
const ASLEEP_MS = 8_000; // a clock that ticks every second stood still for so long: the machine slept
const KEPT_EVENTS = 1_000;
const FIRST_VIEW = "dromos-first-view"; // a mark for those who measure: what is is shown
const FLUSH_MS = 50;
const FEW_APPS = 10; // more are asked for all at once

export const cluster = new Store<Cluster>({ apps: [], pods: [], deployments: [], queue: [], info: null, leader: null, loadedAt: 0 });
export const connection = new Store<Connection>({ state: "connecting", why: "" });
export const events = new Store<StreamEvent[]>([]);

let attempt: AbortController | null = null;
let streaming = false;
let lastId = "0"; // from the beginning, as far as the server keeps it
let timer: number | undefined;
let idle: number | undefined; // when nothing calls for it, all is looked at now and then
let due = Infinity;
let loading = false;
let spent = 0; // ms that the last full load took
let touched: Set<string> | "all" = "all";
let failedSince = 0;
let fresh: StreamEvent[] = [];
let flushing: number | undefined;

export function start(): void {
  void stream();
  refresh(FIRST_LOAD_MS);
  let ticked = Date.now();
  window.setInterval(() => {
    if (Date.now() - ticked > ASLEEP_MS) {
      connection.set({ state: "stale", why: "" });
      wake();
    }
    ticked = Date.now();
  }, 1_000);
  window.addEventListener("online", wake);
  window.addEventListener("offline", () => connection.set({ state: "stale", why: "" }));
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh(0));
  authorization.watch(wake);
}

/** Asks for everything again, soon: after an action, or on a hint. */
export function refresh(delay = GATHER_MS): void {
  touched = "all";
  schedule(delay);
}

function wake(): void {
  attempt?.abort();
  refresh(0);
}

function schedule(delay: number): void {
  const at = Date.now() + delay;
  if (at >= due) return;
  window.clearTimeout(timer);
  due = at;
  timer = window.setTimeout(() => void load(), delay);
}

async function load(): Promise<void> {
  due = Infinity;
  if (loading || unknown.value) return;
  loading = true;
  const wanted = touched;
  touched = new Set();
  const began = Date.now();
  try {
    const changed = wanted === "all" || cluster.value.loadedAt === 0 ? await everything() : await some(wanted);
    if (wanted === "all") spent = Date.now() - began;
    cluster.set({ ...cluster.value, ...changed, loadedAt: Date.now() });
    if (performance.getEntriesByName(FIRST_VIEW).length === 0) window.requestAnimationFrame(() => performance.mark(FIRST_VIEW));
    failedSince = 0;
    connection.set({ state: streaming ? "live" : "polling", why: "" });
  } catch (error) {
    touched = "all";
    noteFailure(error);
  } finally {
    loading = false;
    if (failedSince) schedule(RETRY_MS);
    else if (touched === "all" || touched.size > 0) schedule(pause());
    window.clearTimeout(idle);
    idle = window.setTimeout(() => refresh(0), streaming ? POLL_WHEN_LIVE_MS : POLL_MS);
  }
}

/** A large cluster is not asked for all the time: at most a third of it is spent on loading. */
function pause(): number {
  return touched === "all" ? Math.max(GATHER_MS, 2 * spent) : GATHER_MS;
}

async function everything(): Promise<Partial<Cluster>> {
  const [apps, pods, deployments, queue, info, leader, who] = await Promise.all([
    api.apps(),
    api.pods(),
    api.deployments(),
    api.queue(),
    api.info(),
    api.leader().then((body) => body.leader, () => null),
    api.me(),
  ]);
  me.set(who);
  return { apps: apps.apps, pods, deployments, queue: queue.queue, info, leader };
}

/** The few apps and pods that events named, and the short lists. */
async function some(ids: Set<string>): Promise<Partial<Cluster>> {
  const pods = new Set(cluster.value.pods.map((pod) => pod.id));
  const [deployments, queue, apps, changedPods] = await Promise.all([
    api.deployments(),
    api.queue(),
    found([...ids].filter((id) => !pods.has(id)), (id) => api.appInList(id).then((body) => body.app)),
    found([...ids].filter((id) => pods.has(id)), api.pod),
  ]);
  return { apps: merged(cluster.value.apps, apps), pods: merged(cluster.value.pods, changedPods), deployments, queue: queue.queue };
}

/** Each by its id; null for what is not there any more. */
async function found<T>(ids: string[], ask: (id: string) => Promise<T>): Promise<Map<string, T | null>> {
  const gone = (error: unknown) => {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  };
  return new Map(await Promise.all(ids.map(async (id) => [id, await ask(id).catch(gone)] as const)));
}

function merged<T extends { id: string }>(all: T[], fresh: Map<string, T | null>): T[] {
  const kept = all.filter((one) => fresh.get(one.id) !== null).map((one) => fresh.get(one.id) ?? one);
  const known = new Set(kept.map((one) => one.id));
  return [...kept, ...[...fresh.values()].filter((one): one is T & {} => one !== null && !known.has(one.id))];
}

function noteFailure(error: unknown): void {
  if (error instanceof ApiError && error.status === 401) {
    unknown.set(true);
    return;
  }
  failedSince ||= Date.now();
  const why = error instanceof ApiError && error.status === 0 ? "" : error instanceof Error ? error.message : String(error);
  const stale = !navigator.onLine || Date.now() - failedSince > STALE_AFTER_MS || connection.value.state === "stale";
  connection.set({ state: stale ? "stale" : cluster.value.loadedAt === 0 ? "connecting" : "polling", why });
}

/** Follows the event stream for ever; each time that it opens, everything is asked for again. */
async function stream(): Promise<never> {
  for (;;) {
    attempt = new AbortController();
    if (!unknown.value) {
      try {
        await follow(lastId, attempt.signal, onOpen, onMessage);
      } catch {
        // Not there, or not for us: polling goes on.
      }
    }
    const lost = streaming;
    streaming = false;
    if (lost) refresh(0);
    await new Promise((resolve) => window.setTimeout(resolve, RETRY_MS));
  }
}

function onOpen(): void {
  streaming = true;
  refresh(0);
}

function onMessage(message: Message): void {
  const data = JSON.parse(message.data) as StreamEvent;
  if (message.id) lastId = message.id;
  if (/^event_stream_/.test(data.eventType)) return;
  fresh.unshift({ ...data, id: message.id || `${data.timestamp}-${fresh.length}` });
  flushing ??= window.setTimeout(flush, FLUSH_MS);
  touch(data);
  schedule(pause());
}

/** Many events at once are shown at once. */
function flush(): void {
  flushing = undefined;
  events.set([...fresh, ...events.value].slice(0, KEPT_EVENTS));
  fresh = [];
}

function touch(event: StreamEvent): void {
  const id = event.appId ?? event.runSpecId;
  if (touched === "all") return;
  if (typeof id === "string" && !/^(group_change|api_post)/.test(event.eventType)) touched.add(id);
  else touched = "all";
  if (touched !== "all" && touched.size > FEW_APPS) touched = "all";
}
