// The event stream, read by hand: an EventSource can send no credentials, and does not notice a connection that went silent.

import { BASE } from "./base";
import { headers } from "./session";

export interface Message {
  id: string;
  data: string;
}

const SILENT_MS = 40_000; // the server says something every 15 s

/** Follows the stream until it ends or goes silent. Throws where it cannot be opened. */
export async function follow(last: string, signal: AbortSignal, onOpen: () => void, onMessage: (message: Message) => void): Promise<void> {
  const resumed: Record<string, string> = last ? { "Last-Event-ID": last } : {};
  const response = await fetch(`${BASE}/v2/events?plan-format=light`, {
    headers: { Accept: "text/event-stream", ...headers(), ...resumed },
    credentials: "omit",
    cache: "no-store",
    signal,
  });
  if (!response.ok || !response.body) throw new Error(`the event stream is answered by ${response.status}`);
  onOpen();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const piece = await within(reader.read(), SILENT_MS);
    if (!piece || piece.done) {
      void reader.cancel().catch(() => undefined);
      return;
    }
    const parts = (rest + decoder.decode(piece.value, { stream: true })).replaceAll("\r\n", "\n").split("\n\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const message = parse(part);
      if (message) onMessage(message);
    }
  }
}

function parse(part: string): Message | null {
  let id = "";
  const data: string[] = [];
  for (const line of part.split("\n")) {
    if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length > 0 ? { id, data: data.join("\n") } : null;
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  let timer: number | undefined;
  const late = new Promise<null>((resolve) => {
    timer = window.setTimeout(() => resolve(null), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    window.clearTimeout(timer);
  }
}
