// One application: its instances, its configuration and history, why it waits or fails, its volumes, its events.

import { useEffect, useMemo, useState } from "preact/hooks";
import { api, ApiError } from "../api";
import { AppActions } from "../components/actions";
import { Badge, Card, cpus, Empty, HealthBar, memory, shortId, StatusBadge, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { Changes } from "../components/edit";
import { ActionButton } from "../components/permitted";
import { WindowedTable } from "../components/windowed";
import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, events, refresh } from "../live";
import { definitionOf, diff, health, status, taskHealth } from "../model";
import { appHref, place } from "../router";
import { useStore } from "../store";
import type { App, JsonObject, QueueItem, Task } from "../types";
import { Breadcrumbs } from "./apps";
import { Autoscaling } from "./autoscale";
import { appOf, Timeline } from "./events";
import { FailedLink, instanceHref } from "./instance";
import { reasonsOf } from "./overview";

const TABS = ["instances", "configuration", "autoscaling", "debug", "volumes", "events"] as const;
type Tab = (typeof TABS)[number];

export function AppPage() {
  const text = useText();
  const { path, query } = useStore(place);
  const id = `/${path.slice(1).join("/")}`;
  const { queue } = useStore(cluster);
  const { app, error } = useApp(id);
  const tab = (TABS as readonly string[]).includes(query.get("tab") ?? "") ? (query.get("tab") as Tab) : "instances";
  const queued = queue.find((item) => item.app?.id === id);

  if (error?.status === 404) return <main class="page"><Empty whole title={text("appGone", { id })} /></main>;
  if (!app) return <main class="page"><Empty whole title={error ? error.message : text("connecting")} /></main>;
  return (
    <main class="page">
      <header class="page-head">
        <Breadcrumbs path={path.slice(1, -1)} leaf={path[path.length - 1]} />
        <AppActions app={app} queued={queued} />
      </header>
      <Summary app={app} queued={queued} />
      <nav class="tabs" aria-label={id}>
        {TABS.map((name) => (
          <a key={name} href={appHref(id, name === "instances" ? "" : name)} aria-current={tab === name ? "page" : undefined}>{text(name as Key)}</a>
        ))}
      </nav>
      {tab === "instances" && <Instances app={app} />}
      {tab === "configuration" && <Configuration app={app} />}
      {tab === "autoscaling" && <Autoscaling app={app} />}
      {tab === "debug" && <Debug app={app} queued={queued} />}
      {tab === "volumes" && <Volumes app={app} />}
      {tab === "events" && <AppEvents id={id} />}
    </main>
  );
}

/** The app with its tasks, asked for again whenever the cluster's picture has changed. */
function useApp(id: string): { app: App | null; error: ApiError | null } {
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  const [state, setState] = useState<{ id: string; app: App | null; error: ApiError | null }>({ id, app: null, error: null });
  useEffect(() => {
    let wanted = true;
    api.app(id).then(
      (body) => wanted && setState({ id, app: body.app, error: null }),
      (error: ApiError) => wanted && setState((old) => ({ id, app: error.status === 404 || old.id !== id ? null : old.app, error })),
    );
    return () => {
      wanted = false;
    };
  }, [id, loadedAt]);
  return state.id === id ? state : { app: null, error: null };
}

function Summary({ app, queued }: { app: App; queued?: QueueItem }) {
  const text = useText();
  return (
    <div class="summary">
      <StatusBadge status={status(app, queued)} />
      <span><strong>{app.tasksRunning}</strong> / {app.instances} {text("instances").toLowerCase()}</span>
      <span>{cpus(app.cpus)} {text("cpus")}</span>
      <span>{memory(app.mem)}</span>
      <HealthBar health={health(app)} />
    </div>
  );
}

function Instances({ app }: { app: App }) {
  const text = useText();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [asked, setAsked] = useState<"kill" | "killScale" | "killWipe" | null>(null);
  const tasks = useMemo(() => [...(app.tasks ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1)), [app.tasks]);
  const living = tasks.filter((task) => chosen.has(task.id)).map((task) => task.id);
  if (tasks.length === 0) return <Empty title={text("noTasks")} />;
  const toggle = (id: string) => {
    const next = new Set(chosen);
    next.has(id) ? next.delete(id) : next.add(id);
    setChosen(next);
  };
  return (
    <>
      <div class="selection" aria-live="polite">
        {living.length === 0 ? (
          <span class="faint">{text("chooseToKill")}</span>
        ) : (
          <>
            <span>{text("selected", { count: living.length })}</span>
            {(["kill", "killScale", "killWipe"] as const).map((what) => (
              <ActionButton verb="update" path={app.id} kind="danger-text" key={what} onClick={() => setAsked(what)}>{text(what)}</ActionButton>
            ))}
          </>
        )}
      </div>
      <WindowedTable rows={tasks} rowHeight={44} columns={7} label={text("instances")}
        head={
            <tr>
              <th scope="col">
                <input type="checkbox" aria-label={text("chooseAll")} checked={living.length === tasks.length}
                  onChange={() => setChosen(living.length === tasks.length ? new Set() : new Set(tasks.map((task) => task.id)))} />
              </th>
              <th scope="col">{text("task")}</th>
              <th scope="col">{text("health")}</th>
              <th scope="col">{text("state")}</th>
              <th scope="col">{text("host")}</th>
              <th scope="col">{text("version")}</th>
              <th scope="col">{text("started")}</th>
            </tr>
        }
        row={(task) => <TaskRow key={task.id} task={task} current={app.version} chosen={chosen.has(task.id)} onToggle={() => toggle(task.id)} />} />
      {asked && (
        <ActionDialog title={text(asked)} question={living.join("\n")} confirm={text(asked)} danger onClose={() => (setAsked(null), refresh(0))}
          act={async (force) => (await api.kill(living, asked === "killScale", asked === "killWipe", force), setChosen(new Set()))} />
      )}
    </>
  );
}

function TaskRow({ task, current, chosen, onToggle }: { task: Task; current?: string; chosen: boolean; onToggle: () => void }) {
  const text = useText();
  const is = taskHealth(task);
  return (
    <tr>
      <td><input type="checkbox" aria-label={task.id} checked={chosen} onChange={onToggle} /></td>
      <th scope="row" class="name"><a href={instanceHref(task.id, task.appId)} title={task.id}><code>{shortId(task.id)}</code></a></th>
      <td><span class={`dot health-${is}`} aria-hidden="true" /> {text(is)}</td>
      <td>{task.state.replace(/^TASK_/, "").toLowerCase()}</td>
      <td>{task.host}{task.ports?.length ? <span class="faint">:{task.ports.join(", ")}</span> : null}</td>
      <td>{current && task.version === current ? <span class="faint">{text("current")}</span> : <When time={task.version} />}</td>
      <td><When time={task.startedAt ?? task.stagedAt} /></td>
    </tr>
  );
}

function Configuration({ app }: { app: App }) {
  const text = useText();
  const [versions, setVersions] = useState<string[]>([]);
  const [chosen, setChosen] = useState(app.version);
  const [other, setOther] = useState<App | null>(null);
  const [asked, setAsked] = useState(false);
  useEffect(() => void api.versions(app.id).then((body) => setVersions([...body.versions].sort().reverse()), () => setVersions([])), [app.id, app.version]);
  useEffect(() => {
    setOther(null);
    if (chosen !== app.version) void api.version(app.id, chosen).then(setOther, () => setOther(null));
  }, [app.id, app.version, chosen]);
  const shown = other ?? app;
  return (
    <div class="configuration">
      <Card title={text("version")}>
        <ol class="versions">
          {versions.map((version) => (
            <li key={version}>
              <button type="button" aria-pressed={version === chosen} onClick={() => setChosen(version)}>
                <When time={version} />
                <code>{version}</code>
                {version === app.version && <Badge kind="good">{text("current")}</Badge>}
              </button>
            </li>
          ))}
        </ol>
      </Card>
      <div>
        {other && (
          <Card title={text("compare")} actions={<ActionButton verb="update" path={app.id} kind="primary" onClick={() => setAsked(true)}>{text("rollBackTo")}</ActionButton>}>
            <Changes changes={diff(definitionOf(app), definitionOf(other))} />
          </Card>
        )}
        <Card title={text("json")}><pre class="json" tabIndex={0}>{JSON.stringify(definitionOf(shown), null, 2)}</pre></Card>
      </div>
      {asked && (
        <ActionDialog title={text("rollBack")} question={`${app.id} → ${chosen}`} confirm={text("rollBack")} onClose={() => (setAsked(false), refresh(0))}
          act={async (force) => (await api.rollback(app.id, chosen, force), setChosen(app.version))} />
      )}
    </div>
  );
}

function Debug({ app, queued }: { app: App; queued?: QueueItem }) {
  const text = useText();
  const failure = app.lastTaskFailure;
  const summary = queued?.processedOffersSummary;
  return (
    <div class="columns">
      <Card title={text("whyWaiting")}>
        {queued && queued.count > 0 ? (
          <>
            <ul class="problems">{reasonsOf(queued, text).map((reason) => <li key={reason}>{reason}</li>)}</ul>
            <p class="faint">{text("offersSeen", { count: summary!.processedOffersCount, unused: summary!.unusedOffersCount })}</p>
            {queued.delay.timeLeftSeconds > 0 && <p>{text("nextTry", { seconds: queued.delay.timeLeftSeconds })}</p>}
          </>
        ) : (
          <p class="faint">{text("notWaiting")}</p>
        )}
      </Card>
      <Card title={text("lastFailure")}>
        {failure ? (
          <dl class="facts">
            <dt>{text("state")}</dt><dd><Badge kind="bad">{failure.state}</Badge></dd>
            <dt>{text("message")}</dt><dd class="pre">{failure.message}</dd>
            <dt>{text("host")}</dt><dd>{failure.host}</dd>
            <dt>{text("task")}</dt><dd><code>{failure.taskId}</code> <FailedLink task={failure.taskId} app={app.id} agent={failure.slaveId} /></dd>
            <dt>{text("updated")}</dt><dd><When time={failure.timestamp} /></dd>
          </dl>
        ) : (
          <p class="faint">{text("noFailure")}</p>
        )}
      </Card>
    </div>
  );
}

function Volumes({ app }: { app: App }) {
  const text = useText();
  const volumes = (app.container?.volumes as JsonObject[] | undefined) ?? [];
  if (volumes.length === 0) return <Empty title={text("noVolumes")} />;
  return (
    <div class="table-wrap" tabIndex={0}>
      <table class="table">
        <thead><tr><th scope="col">{text("containerPath")}</th><th scope="col">{text("hostPath")}</th><th scope="col">{text("mode")}</th></tr></thead>
        <tbody>
          {volumes.map((volume, index) => (
            <tr key={index}>
              <th scope="row" class="name"><code>{String(volume.containerPath)}</code></th>
              <td><code>{typeof volume.hostPath === "string" ? volume.hostPath : JSON.stringify(volume.persistent ?? volume.external ?? volume.secret ?? null)}</code></td>
              <td>{String(volume.mode ?? "")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function AppEvents({ id }: { id: string }) {
  const all = useStore(events);
  return <Timeline events={all.filter((event) => appOf(event) === id || String(event.uri ?? "").startsWith(`/v2/apps${id}`))} />;
}
