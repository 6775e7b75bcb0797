// What an app or a pod keeps outside its tasks: what it asks for, and where the persistent ones are, in use or not.

import { useState } from "preact/hooks";
import { api } from "../api";
import { Badge, Card, Empty, memory, shortId, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { ErrorText } from "../components/errors";
import { ActionButton } from "../components/permitted";
import { type Translate, useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, refresh } from "../live";
import { usePolled } from "../polled";
import { href } from "../router";
import { useStore } from "../store";
import type { JsonObject, Volume } from "../types";
import { instanceHref } from "./instance";

interface Declared {
  where: string;
  kind: Key;
  what: string;
  mode: string;
}

/** `wipe` ends an instance, if it runs, and gives its volumes back. */
export function Volumes({ id, declared, wipe }: { id: string; declared: JsonObject[]; wipe: (volume: Volume) => Promise<unknown> }) {
  const text = useText();
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  const { value, error, again } = usePolled(`volumes ${id}`, () => api.volumes(id), 10_000, loadedAt);
  const [asked, setAsked] = useState<Volume | null>(null);
  const kept = value?.volumes ?? [];
  if (declared.length === 0 && kept.length === 0) return <Empty title={text("noVolumes")} />;
  const persistent = kept.length > 0 || declared.some((volume) => volume.persistent);
  return (
    <>
      {declared.length > 0 && (
        <div class="table-wrap spaced" tabIndex={0}>
          <table class="table" aria-label={text("volumes")}>
            <thead><tr><th scope="col">{text("containerPath")}</th><th scope="col">{text("kind")}</th><th scope="col">{text("source")}</th><th scope="col">{text("mode")}</th></tr></thead>
            <tbody>
              {declared.map(read).map((volume, index) => (
                <tr key={index}>
                  <th scope="row" class="name"><code>{volume.where}</code></th>
                  <td>{text(volume.kind)}</td>
                  <td class="name" translate={false}><code title={volume.what}>{volume.what}</code></td>
                  <td><code>{volume.mode}</code></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {error && !value && <ErrorText error={error} />}
      {persistent && value && (kept.length === 0 ? <Card><p class="faint">{text("noneKept")}</p></Card> : (
        <div class="table-wrap" tabIndex={0}>
          <table class="table" aria-label={text("volumesKept")}>
            <thead>
              <tr>
                <th scope="col">{text("instance")}</th><th scope="col">{text("containerPath")}</th><th scope="col" class="number">{text("size")}</th>
                <th scope="col">{text("status")}</th><th scope="col">{text("host")}</th><th scope="col">{text("since")}</th><th scope="col"><span class="hidden">{text("wipe")}</span></th>
              </tr>
            </thead>
            <tbody>
              {kept.map((volume) => (
                <tr key={volume.persistenceId}>
                  <th scope="row" class="name" translate={false}>
                    {volume.taskId ? <a href={instanceHref(volume.taskId, id)} title={volume.persistenceId}><code>{shortId(volume.taskId)}</code></a>
                      : <code title={volume.persistenceId}>{shortId(volume.instanceId)}</code>}
                  </th>
                  <td><code>{volume.containerPath}</code></td>
                  <td class="number">{memory(volume.size)}</td>
                  <td><Badge kind={volume.status === "attached" ? "good" : "warn"}>{text(volume.status)}</Badge></td>
                  <td translate={false}><a href={href(["agents", volume.agentId])} title={volume.agentId}>{volume.host}</a></td>
                  <td><When time={volume.since} /></td>
                  <td><ActionButton verb="update" path={id} kind="danger-text" onClick={() => setAsked(volume)}>{text("wipe")}</ActionButton></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ))}
      {asked && (
        <ActionDialog title={text("wipe")} question={question(asked, text)} confirm={text("wipe")} danger
          onClose={() => (setAsked(null), again(), refresh(0))} act={() => wipe(asked)} />
      )}
    </>
  );
}

function question(volume: Volume, text: Translate): string {
  return `${text(volume.status === "attached" ? "wipeRunningQuestion" : "wipeQuestion", { host: volume.host })}\n\n${volume.instanceId}`;
}

/** An app's volume has a containerPath; a pod's has a name that its containers mount. */
function read(volume: JsonObject): Declared {
  const where = String(volume.containerPath ?? volume.name ?? "");
  const mode = String(volume.mode ?? "");
  const persistent = volume.persistent as { size?: number; type?: string } | undefined;
  if (persistent) return { where, mode, kind: "volumePersistent", what: [persistent.type ?? "root", memory(Number(persistent.size ?? 0))].join(" · ") };
  if (volume.external) return { where, mode, kind: "volumeExternal", what: JSON.stringify(volume.external) };
  if (volume.secret) return { where, mode, kind: "volumeSecret", what: String(volume.secret) };
  const host = volume.hostPath ?? volume.host;
  return host ? { where, mode, kind: "volumeHost", what: String(host) } : { where, mode, kind: "volumeEphemeral", what: "" };
}
