// One instance: what it is, what it writes as it writes it, and the files of its sandbox.

import { useEffect, useRef, useState } from "preact/hooks";
import { api, ApiError, download } from "../api";
import { Badge, bytes, Card, Empty, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { ErrorText } from "../components/errors";
import { ActionButton } from "../components/permitted";
import { Tabs } from "../components/tabs";
import { useDraining } from "../draining";
import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, refresh } from "../live";
import { podTasks, taskHealth } from "../model";
import { usePolled } from "../polled";
import { href, place, podHref } from "../router";
import { useStore } from "../store";
import type { SandboxFile, Task } from "../types";
import { Breadcrumbs } from "./apps";
import { stateText } from "./events";

const TABS = ["stdout", "stderr", "files"] as const;
const LOG_MS = 1_000;
const PIECE = 64 * 1024;
const MOST_LINES = 5_000;

export function instanceHref(task: string, app: string, more: Record<string, string> = {}): string {
  return href(["instance", task], { app, ...more });
}

export function InstancePage() {
  const text = useText();
  const { path, query } = useStore(place);
  const id = path[1] ?? "";
  const app = query.get("app") ?? "/";
  const agent = query.get("agent") ?? "";
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  const pod = useStore(cluster, (value) => value.pods.find((one) => one.id === app));
  const { value } = usePolled(`tasks ${app} ${pod !== undefined}`, async () => (pod ? null : await api.tasks(app)), 15_000, loadedAt);
  const task = pod ? podTasks(pod).find((one) => one.id === id) : value?.tasks.find((one) => one.id === id);
  const wanted = query.get("tab") ?? "";
  const tab = (TABS as readonly string[]).includes(wanted) ? wanted : query.get("file") ? "file" : "stdout";
  const where = (more: Record<string, string>) => instanceHref(id, app, { ...(agent && { agent }), ...more });
  return (
    <main class="page">
      <header class="page-head">
        {pod ? <PodBreadcrumbs pod={app} leaf={id} /> : <Breadcrumbs path={app.split("/").filter(Boolean)} linked leaf={id} />}
        {task && !pod && <Kill task={task} app={app} />}
      </header>
      {task ? <Facts task={task} /> : <p class="faint summary">{value || pod ? text("instanceEnded") : text("connecting")}</p>}
      <Tabs label={text("sections")} tabs={TABS.map((name) => ({ label: name === "files" ? text("files") : name, to: where({ tab: name }), current: tab === name }))} />
      {tab === "files" && <Files task={id} agent={agent} folder={query.get("folder") ?? ""} where={where} />}
      {tab === "file" && <Log key={query.get("file")!} task={id} agent={agent} file={query.get("file")!} />}
      {(tab === "stdout" || tab === "stderr") && <Log key={id + tab} task={id} agent={agent} file={tab} />}
    </main>
  );
}

function PodBreadcrumbs({ pod, leaf }: { pod: string; leaf: string }) {
  const text = useText();
  return (
    <nav class="breadcrumbs" aria-label={text("pods")}>
      <ol><li><a href={href(["pods"])}>{text("pods")}</a></li><li translate={false}><a href={podHref(pod)}>{pod.slice(1)}</a></li><li translate={false}><h1>{leaf}</h1></li></ol>
    </nav>
  );
}

function Kill({ task, app }: { task: Task; app: string }) {
  const text = useText();
  const [asked, setAsked] = useState<"kill" | "killScale" | "killWipe" | null>(null);
  return (
    <div class="actions">
      {(["kill", "killScale", ...(task.localVolumes?.length ? (["killWipe"] as const) : [])] as const).map((what) => (
        <ActionButton verb="update" path={app} kind="danger-text" key={what} onClick={() => setAsked(what)}>{text(what)}</ActionButton>
      ))}
      {asked && (
        <ActionDialog title={text(asked)} question={`${text(`${asked}Question`)}\n\n${task.id}`} confirm={text(asked)} danger onClose={() => (setAsked(null), refresh(0))}
          act={(force) => api.kill([task.id], asked === "killScale", asked === "killWipe", force)} />
      )}
    </div>
  );
}

function Facts({ task }: { task: Task }) {
  const text = useText();
  const is = taskHealth(task, useDraining());
  const failing = task.healthCheckResults?.find((result) => !result.alive && result.lastFailureCause);
  return (
    <Card>
      <dl class="facts row">
        <div><dt>{text("state")}</dt><dd>{stateText(task.state, text)}</dd></div>
        <div><dt>{text("health")}</dt><dd><span class={`dot health-${is}`} aria-hidden="true" /> {text(is as Key)}</dd></div>
        <div><dt>{text("host")}</dt><dd translate={false}>{task.host}</dd></div>
        <div><dt>{text("ports")}</dt><dd>{task.ports?.join(", ") || "–"}</dd></div>
        <div><dt>{text("addresses")}</dt><dd>{task.ipAddresses?.map((one) => one.ipAddress).join(", ") || "–"}</dd></div>
        <div><dt>{text("started")}</dt><dd><When time={task.startedAt ?? task.stagedAt} /></dd></div>
        <div class="wide"><dt>{text("version")}</dt><dd><code>{task.version}</code></dd></div>
        <div class="wide"><dt>{text("agent")}</dt><dd>{task.slaveId ? <a href={href(["agents", task.slaveId])}><code>{task.slaveId}</code></a> : "–"}</dd></div>
      </dl>
      {failing && <p class="error">{failing.lastFailureCause}</p>}
    </Card>
  );
}

/** The end of a file, and what is added to it. */
function Log({ task, agent, file }: { task: string; agent: string; file: string }) {
  const text = useText();
  const [lines, setLines] = useState<string[]>([]);
  const [error, setError] = useState<ApiError | null>(null);
  const [following, setFollowing] = useState(true);
  const [wanted, setWanted] = useState("");
  const box = useRef<HTMLPreElement>(null);

  useEffect(() => {
    let here = true;
    let timer: number | undefined;
    let offset = -1;
    let rest = "";
    const look = async () => {
      try {
        if (offset < 0) {
          const size = (await api.readFile(task, file, -1, agent)).offset;
          offset = Math.max(0, size - PIECE);
        }
        for (;;) {
          const { data } = await api.readFile(task, file, offset, agent);
          if (!here) return;
          if (!data) break;
          offset += new TextEncoder().encode(data).length;
          const parts = (rest + data).split("\n");
          rest = parts.pop() ?? "";
          const shown = rest;
          setLines((old) => [...old.slice(0, -1), ...parts, shown].slice(-MOST_LINES));
        }
        setError(null);
      } catch (failure) {
        if (here) setError(failure instanceof ApiError ? failure : new ApiError(0, String(failure)));
      }
      if (here) timer = window.setTimeout(() => void look(), LOG_MS);
    };
    void look();
    return () => {
      here = false;
      window.clearTimeout(timer);
    };
  }, [task, agent, file]);

  useEffect(() => {
    if (following && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, following]);

  const shown = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted.toLowerCase())) : lines;
  return (
    <>
      <div class="filters">
        <input type="search" aria-label={text("filterLines")} placeholder={text("filterLines")} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
        <button type="button" class="chip" aria-pressed={following} onClick={() => setFollowing(!following)}>{text("follow")}</button>
        <Download task={task} agent={agent} path={file} />
      </div>
      {error && <ErrorText error={error} />}
      <pre class="log" translate={false} ref={box} tabIndex={0} role="log" aria-label={file}
        onScroll={(event) => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          const atEnd = scrollHeight - scrollTop - clientHeight < 24;
          if (atEnd !== following) setFollowing(atEnd);
        }}>
        {shown.length === 0 || (shown.length === 1 && shown[0] === "") ? <span class="faint">{text("nothingWritten")}</span> : shown.join("\n")}
      </pre>
    </>
  );
}

/** Through a blob, as the call may need our credentials. */
function Download({ task, agent, path }: { task: string; agent: string; path: string }) {
  const text = useText();
  const [error, setError] = useState<ApiError | null>(null);
  const save = async () => {
    try {
      const address = URL.createObjectURL(await download(task, path, agent));
      const link = document.createElement("a");
      link.href = address;
      link.download = path.split("/").pop() || "file";
      link.click();
      window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
      setError(null);
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, String(failure)));
    }
  };
  return (
    <>
      <button type="button" class="chip" onClick={() => void save()} aria-label={`${text("download")} ${path}`}>{text("download")}</button>
      {error && <ErrorText error={error} />}
    </>
  );
}

function Files({ task, agent, folder, where }: { task: string; agent: string; folder: string; where: (more: Record<string, string>) => string }) {
  const text = useText();
  const { value, error } = usePolled(`${task} ${folder}`, () => api.files(task, folder, agent), 5_000);
  const steps = folder.split("/").filter(Boolean);
  if (error && !value) return <ErrorText error={error} />;
  if (!value) return <Empty title={text("connecting")} />;
  const order = (a: SandboxFile, b: SandboxFile) => Number(b.directory) - Number(a.directory) || (a.name < b.name ? -1 : 1);
  return (
    <>
      <nav class="breadcrumbs small" aria-label={text("files")}>
        <ol>
          <li><a href={where({ tab: "files" })}>{text("sandbox")}</a></li>
          {steps.map((step, index) => <li key={index} translate={false}><a href={where({ tab: "files", folder: steps.slice(0, index + 1).join("/") })}>{step}</a></li>)}
        </ol>
      </nav>
      <div class="table-wrap" tabIndex={0}>
        <table class="table" aria-label={text("files")}>
          <thead>
            <tr><th scope="col">{text("name")}</th><th scope="col">{text("mode")}</th><th scope="col" class="number">{text("size")}</th><th scope="col">{text("updated")}</th><th scope="col"><span class="hidden">{text("download")}</span></th></tr>
          </thead>
          <tbody>
            {[...value.files].sort(order).map((file) => (
              <tr key={file.path}>
                <th scope="row" class="name" translate={false}>
                  <a title={file.name} href={where(file.directory ? { tab: "files", folder: file.path } : { file: file.path })}>{file.name}{file.directory && "/"}</a>
                </th>
                <td><code>{file.mode}</code></td>
                <td class="number">{file.directory ? "" : bytes(file.size)}</td>
                <td><When time={new Date(file.modifiedAt * 1000).toISOString()} /></td>
                <td>{!file.directory && <Download task={task} agent={agent} path={file.path} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {value.files.length === 0 && <Empty title={text("noFiles")} />}
    </>
  );
}

export function FailedLink({ task, app, agent }: { task: string; app: string; agent?: string | null }) {
  return <a href={instanceHref(task, app, { ...(agent && { agent }), tab: "stderr" })}><Badge kind="plain">stderr</Badge></a>;
}
