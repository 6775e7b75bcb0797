// What happened, as far back as the server keeps it, newest first; for one app or for all.

import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import { Badge, Empty, When } from "../components/basics";
import { language, named, type Translate, useText } from "../i18n";
import { cluster, events } from "../live";
import { appHref, podHref, useFilter } from "../router";
import { useStore } from "../store";
import type { DeploymentAction, StreamEvent } from "../types";

const MOST_NAMES = 4;
const STEP = 200; // entries
const AGE_MS = 15_000;

export function EventsPage() {
  const text = useText();
  const all = useStore(events);
  const [wanted, setWanted] = useFilter();
  const shown = all.filter((event) => !wanted || JSON.stringify(event).toLowerCase().includes(wanted.toLowerCase()));
  return (
    <main class="page">
      <header class="page-head"><h1>{text("events")}</h1></header>
      <div class="filters">
        <input type="search" aria-label={text("search")} placeholder={text("search")} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
      </div>
      <Timeline events={shown} />
    </main>
  );
}

/** The newest, and more on demand. An entry that is there already is left as it is: events may come many times a second. */
export function Timeline({ events: shown }: { events: StreamEvent[] }) {
  const text = useText();
  const spoken = useStore(language);
  const pods = useStore(cluster, (value) => value.pods.map((pod) => pod.id).join(" "));
  const [most, setMost] = useState(STEP);
  const made = useRef(new Map<string, VNode>());
  // The age of an entry is to be right, too.
  const shape = `${spoken} ${pods} ${Math.floor(Date.now() / AGE_MS)}`;
  const before = useRef(shape);
  if (before.current !== shape) made.current = new Map();
  before.current = shape;
  if (shown.length === 0) return <Empty title={text("noEvents")} />;
  const known = made.current;
  made.current = new Map();
  const isPod = new Set(pods.split(" "));
  for (const event of shown.slice(0, most)) {
    made.current.set(event.id, known.get(event.id) ?? <Entry key={event.id} event={event} isPod={isPod} />);
  }
  return (
    <>
      <ol class="timeline">{[...made.current.values()]}</ol>
      {shown.length > most && <p class="more"><button type="button" onClick={() => setMost(most + STEP)}>{text("older", { count: shown.length - most })}</button></p>}
    </>
  );
}

function Entry({ event, isPod }: { event: StreamEvent; isPod: Set<string> }) {
  const text = useText();
  return (
    <li>
      <When time={event.timestamp} />
      <Badge kind={tone(event)}>{eventName(event.eventType, text)}</Badge>
      <EventText event={event} isPod={isPod} />
    </li>
  );
}

export function appOf(event: StreamEvent): string | null {
  const id = event.appId ?? event.runSpecId;
  return typeof id === "string" ? id : null;
}

/** The events of one app or pod; those of requests name it in their `uri` alone, those of deployments in their plan. */
export function EventsOf({ id, uri }: { id: string; uri: string }) {
  const all = useStore(events);
  return <Timeline events={all.filter((event) => appOf(event) === id || isBelow(String(event.uri ?? ""), uri) || deployed(event).includes(id))} />;
}

/** The apps and pods that the plan of a deployment's event changes. */
function deployed(event: StreamEvent): string[] {
  const plan = event.plan as { steps?: { actions: DeploymentAction[] }[] } | undefined;
  return [...new Set((plan?.steps ?? []).flatMap((step) => step.actions.map((action) => action.app ?? action.pod ?? "")))];
}

function isBelow(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`) || path.startsWith(`${above}::`);
}

function eventName(type: string, text: Translate): string {
  const name = type.replace(/_event$/, "");
  return named(text, "event", name, name.replaceAll("_", " "));
}

/** A state of Mesos, in plain words. */
export function stateText(state: string, text: Translate): string {
  return named(text, "state", state, state.replace(/^TASK_/, "").toLowerCase());
}

function EventText({ event, isPod }: { event: StreamEvent; isPod: Set<string> }) {
  const text = useText();
  const own = appOf(event);
  const ids = own ? [own] : deployed(event);
  const to = (id: string) => (isPod.has(id) ? podHref(id) : appHref(id));
  const said = ["taskStatus", "condition", "message", "reason", "uri", "groupId"].map((key) => event[key]).filter((value) => typeof value === "string" && value);
  const verdict = typeof event.healthy === "boolean" ? event.healthy : event.alive;
  return (
    <span class="event-text">
      <span translate={false}>{ids.slice(0, MOST_NAMES).map((id) => <span key={id}><a href={to(id)}>{id}</a> </span>)}{ids.length > MOST_NAMES && `+${ids.length - MOST_NAMES} `}{said.join(" · ")}</span>
      {typeof verdict === "boolean" && <span> {text(verdict ? "healthy" : "unhealthy")}</span>}
    </span>
  );
}

function tone(event: StreamEvent): string {
  const text = `${event.eventType} ${String(event.taskStatus ?? "")} ${String(event.condition ?? "")}`;
  if (/fail|error|unhealthy|gone|lost|unreachable/i.test(text)) return "bad";
  if (/success|running|registered/i.test(text)) return "good";
  return "plain";
}
