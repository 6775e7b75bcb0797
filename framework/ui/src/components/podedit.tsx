// Create or edit a pod, as JSON: its containers nest too deep for a form.

import { useMemo, useState } from "preact/hooks";
import { api } from "../api";
import { useText } from "../i18n";
import { refresh } from "../live";
import { diff, podDefinition } from "../model";
import { goTo, podHref } from "../router";
import type { JsonObject, PodSpec } from "../types";
import { Dialog, locked, useAction } from "./dialog";
import { ErrorText } from "./errors";
import { Changes, parsed } from "./edit";

const NEW_POD = {
  id: "/",
  scaling: { kind: "fixed", instances: 1 },
  containers: [{ name: "main", exec: { command: { shell: "" } }, resources: { cpus: 0.1, mem: 64 } }],
};

/** `draft`: what to begin with, where that is not the pod as it is. */
export function PodDialog({ pod, draft, onClose }: { pod?: PodSpec; draft?: Record<string, unknown>; onClose: () => void }) {
  const text = useText();
  const before = useMemo(() => (pod ? podDefinition(pod) : NEW_POD), []);
  const [source, setSource] = useState(() => JSON.stringify(draft ?? before, null, 2));
  const { value, broken } = useMemo(() => parsed(source, text), [source]);
  const { busy, error, run } = useAction(async (force) => {
    await (pod ? api.updatePod(pod.id, value as JsonObject, force) : api.createPod(value as JsonObject, force));
    refresh(0);
    goTo(podHref(pod?.id ?? String((value as JsonObject).id)));
  }, onClose);
  const changes = pod && !broken ? diff(before, value) : [];
  return (
    <Dialog title={pod ? `${text("edit")} ${pod.id}` : text("createPod")} onClose={onClose} wide>
      <form onSubmit={(event) => (event.preventDefault(), void run(locked(error)))}>
        <div class="edit-json alone">
          <textarea aria-label={text("json")} spellcheck={false} autoFocus ref={atTheStart} value={source} aria-invalid={broken ? "true" : "false"}
            onInput={(event) => setSource(event.currentTarget.value)} />
          {broken && <p class="error" role="alert">{broken}</p>}
        </div>
        {pod && (
          <details class="diff" open={changes.length > 0}>
            <summary>{text("compare")} ({changes.length})</summary>
            <Changes changes={changes} />
          </details>
        )}
        {error && <ErrorText error={error} />}
        <footer class="dialog-foot">
          <button type="button" onClick={onClose}>{text("cancel")}</button>
          <button type="submit" class="primary" disabled={busy || Boolean(broken)}>{locked(error) ? text("force") : pod ? text("save") : text("createPod")}</button>
        </footer>
      </form>
    </Dialog>
  );
}

/** The caret in its first line, not in its last. */
function atTheStart(area: HTMLTextAreaElement | null): void {
  area?.setSelectionRange(0, 0);
}
