// What happened since this page was opened, newest first; for one app or for all.

import { useState } from "preact/hooks";
import { Badge, Empty, When } from "../components/basics";
import { useText } from "../i18n";
import { events } from "../live";
import { appHref } from "../router";
import { useStore } from "../store";
import type { StreamEvent } from "../types";

export function EventsPage() {
  const text = useText();
  const all = useStore(events);
  const [wanted, setWanted] = useState("");
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

export function Timeline({ events: shown }: { events: StreamEvent[] }) {
  const text = useText();
  if (shown.length === 0) return <Empty title={text("noEvents")} />;
  return (
    <ol class="timeline">
      {shown.map((event) => (
        <li key={event.id}>
          <When time={event.timestamp} />
          <Badge kind={tone(event)}>{event.eventType.replace(/_event$/, "").replaceAll("_", " ")}</Badge>
          <EventText event={event} />
        </li>
      ))}
    </ol>
  );
}

export function appOf(event: StreamEvent): string | null {
  const id = event.appId ?? event.runSpecId;
  return typeof id === "string" ? id : null;
}

function EventText({ event }: { event: StreamEvent }) {
  const app = appOf(event);
  const said = ["taskStatus", "condition", "message", "reason", "uri", "groupId"].map((key) => event[key]).filter((value) => typeof value === "string" && value);
  if (typeof event.healthy === "boolean") said.push(event.healthy ? "healthy" : "unhealthy");
  if (typeof event.alive === "boolean") said.push(event.alive ? "healthy" : "unhealthy");
  return (
    <span class="event-text">
      {app && <a href={appHref(app)}>{app}</a>} {said.join(" · ")}
    </span>
  );
}

function tone(event: StreamEvent): string {
  const text = `${event.eventType} ${String(event.taskStatus ?? "")} ${String(event.condition ?? "")}`;
  if (/fail|error|unhealthy|gone|lost|unreachable/i.test(text)) return "bad";
  if (/success|running|registered/i.test(text)) return "good";
  return "plain";
}
