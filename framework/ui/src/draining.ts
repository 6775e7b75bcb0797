// Which instances are being drained, as the event stream tells: their answers do not say so, they run until they are killed.

import { useMemo } from "preact/hooks";
import { events } from "./live";
import { useStore } from "./store";
import type { StreamEvent } from "./types";

export function useDraining(): ReadonlySet<string> {
  const ids = useStore(events, idsOf);
  return useMemo(() => new Set(ids.split(" ")), [ids]);
}

function idsOf(all: StreamEvent[]): string {
  return all.flatMap((event) => (event.eventType === "instance_draining_event" && Array.isArray(event.taskIds) ? event.taskIds : [])).join(" ");
}
