// What can be done to an app, each with its dialog.

import { useState } from "preact/hooks";
import { api } from "../api";
import { useText } from "../i18n";
import { refresh } from "../live";
import { go } from "../router";
import type { App, QueueItem } from "../types";
import { ActionDialog } from "./dialog";
import { EditDialog } from "./edit";
import { ActionButton } from "./permitted";

type Open = "scale" | "restart" | "suspend" | "destroy" | "edit" | null;

export function AppActions({ app, queued }: { app: App; queued?: QueueItem }) {
  const text = useText();
  const [open, setOpen] = useState<Open>(null);
  const close = () => {
    setOpen(null);
    refresh(0);
  };
  const [instances, setInstances] = useState(app.instances);
  return (
    <div class="actions">
      <ActionButton verb="update" path={app.id} kind="primary" id="action-scale" onClick={() => (setInstances(app.instances), setOpen("scale"))}>{text("scale")}</ActionButton>
      <ActionButton verb="update" path={app.id} onClick={() => setOpen("edit")}>{text("edit")}</ActionButton>
      <ActionButton verb="update" path={app.id} onClick={() => setOpen("restart")}>{text("restart")}</ActionButton>
      <ActionButton verb="update" path={app.id} onClick={() => setOpen("suspend")} disabled={app.instances === 0}>{text("suspend")}</ActionButton>
      {queued && queued.delay.timeLeftSeconds > 0 && (
        <ActionButton verb="update" path={app.id} onClick={() => void api.resetDelay(app.id).finally(() => refresh(0))}>{text("resetDelay")}</ActionButton>
      )}
      <ActionButton verb="delete" path={app.id} kind="danger-text" onClick={() => setOpen("destroy")}>{text("destroy")}</ActionButton>

      {open === "scale" && (
        <ActionDialog title={text("scale")} question={text("scaleTo", { id: app.id })} confirm={text("scale")} onClose={close}
          act={(force) => api.scale(app.id, instances, force)}>
          <input type="number" min={0} autoFocus aria-label={text("instances")} value={instances}
            onInput={(event) => setInstances(Math.max(0, Number(event.currentTarget.value) || 0))} />
        </ActionDialog>
      )}
      {open === "restart" && (
        <ActionDialog title={text("restart")} question={text("restartQuestion", { id: app.id })} confirm={text("restart")} onClose={close}
          act={(force) => api.restart(app.id, force)} />
      )}
      {open === "suspend" && (
        <ActionDialog title={text("suspend")} question={text("suspendQuestion", { id: app.id })} confirm={text("suspend")} onClose={close}
          act={(force) => api.scale(app.id, 0, force)} />
      )}
      {open === "destroy" && (
        <ActionDialog title={text("destroy")} question={text("destroyQuestion", { id: app.id })} confirm={text("destroy")} danger typed={app.id}
          onClose={close} act={async (force) => (await api.destroy(app.id, force), go(["apps"]))} />
      )}
      {open === "edit" && <EditDialog app={app} onClose={close} />}
    </div>
  );
}
