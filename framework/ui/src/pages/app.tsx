// One application: its instances, its configuration and history, why it waits or fails, its volumes, its events.

import { useEffect, useMemo, useState } from "preact/hooks";
import { api, ApiError } from "../api";
import { AppActions } from "../components/actions";
import { Badge, Card, cpus, duration, Empty, HealthBar, memory, shortId, StatusBadge, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { EditDialog } from "../components/edit";
import { NotThere } from "../components/errors";
import { History } from "../components/history";
import { ActionButton } from "../components/permitted";
import { Tabs } from "../components/tabs";
import { WhyWaiting } from "../components/waiting";
import { WindowedTable } from "../components/windowed";
import { useDraining } from "../draining";
import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, refresh } from "../live";
import { definitionOf, health, status, taskHealth } from "../model";
import { usePolled } from "../polled";
import { appHref, place } from "../router";
import { useStore } from "../store";
import type { App, JsonObject, QueueItem, Task } from "../types";
import { Breadcrumbs } from "./apps";
import { Autoscaling } from "./autoscale";
import { EventsOf, stateText } from "./events";
import { FailedLink, instanceHref } from "./instance";
import { Volumes } from "./volumes";

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
  const [draft, setDraft] = useState<Record<string, unknown> | null>(null);

  if (error?.status === 404) return <main class="page"><Empty whole title={text("appGone", { id })} /></main>;
  if (!app) return <main class="page"><NotThere error={error} /></main>;
  return (
    <main class="page">
      <header class="page-head">
        <Breadcrumbs path={path.slice(1, -1)} leaf={path[path.length - 1]} />
        <AppActions app={app} queued={queued} />
      </header>
      <Summary app={app} queued={queued} />
      <Tabs label={text("sections")} tabs={TABS.map((name) => ({ label: text(name as Key), to: appHref(id, name === "instances" ? "" : name), current: tab === name }))} />
      {tab === "instances" && <Instances app={app} />}
      {tab === "configuration" && (
        <History id={id} current={app.version} definition={definitionOf(app)} list={async () => (await api.versions(id)).versions}
          at={async (version) => definitionOf(await api.version(id, version))} rollBack={(version, _old, force) => api.rollback(id, version, force)} onEdit={setDraft} />
      )}
      {tab === "autoscaling" && <Autoscaling app={app} />}
      {tab === "debug" && <Debug app={app} queued={queued} />}
      {tab === "volumes" && (
        <Volumes id={id} declared={(app.container?.volumes as JsonObject[] | undefined) ?? []} wipe={(volume) => api.kill([volume.instanceId], false, true)} />
      )}
      {tab === "events" && <EventsOf id={id} uri={`/v2/apps${id}`} />}
      {draft && <EditDialog app={app} draft={draft} onClose={() => setDraft(null)} />}
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
  const draining = useDraining();
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
        row={(task) => <TaskRow key={task.id} task={task} health={taskHealth(task, draining)} current={app.version} chosen={chosen.has(task.id)} onToggle={() => toggle(task.id)} />} />
      {asked && (
        <ActionDialog title={text(asked)} question={`${text(`${asked}Question`)}\n\n${living.join("\n")}`} confirm={text(asked)} danger onClose={() => (setAsked(null), refresh(0))}
          act={async (force) => (await api.kill(living, asked === "killScale", asked === "killWipe", force), setChosen(new Set()))} />
      )}
    </>
  );
}

function TaskRow({ task, health: is, current, chosen, onToggle }: { task: Task; health: ReturnType<typeof taskHealth>; current?: string; chosen: boolean; onToggle: () => void }) {
  const text = useText();
  return (
    <tr>
      <td><input type="checkbox" aria-label={task.id} translate={false} checked={chosen} onChange={onToggle} /></td>
      <th scope="row" class="name" translate={false}><a href={instanceHref(task.id, task.appId)} title={task.id}><code>{shortId(task.id)}</code></a></th>
      <td><span class={`dot health-${is}`} aria-hidden="true" /> {text(is)}</td>
      <td>{stateText(task.state, text)}</td>
      <td translate={false}>{task.host}{task.ports?.length ? <span class="faint">:{task.ports.join(", ")}</span> : null}</td>
      <td>{current && task.version === current ? <span class="faint">{text("current")}</span> : <When time={task.version} />}</td>
      <td><When time={task.startedAt ?? task.stagedAt} /></td>
    </tr>
  );
}

function Debug({ app, queued }: { app: App; queued?: QueueItem }) {
  const text = useText();
  const failure = app.lastTaskFailure;
  return (
    <>
      <div class="columns">
        <WhyWaiting queued={queued} />
        <Card title={text("lastFailure")}>
          {failure ? (
            <dl class="facts">
              <dt>{text("state")}</dt><dd translate={false}><Badge kind="bad">{failure.state}</Badge></dd>
              <dt>{text("message")}</dt><dd class="pre" translate={false}>{failure.message}</dd>
              <dt>{text("host")}</dt><dd translate={false}>{failure.host}</dd>
              <dt>{text("task")}</dt><dd><code>{failure.taskId}</code> <FailedLink task={failure.taskId} app={app.id} agent={failure.slaveId} /></dd>
              <dt>{text("updated")}</dt><dd><When time={failure.timestamp} /></dd>
            </dl>
          ) : (
            <p class="faint">{text("noFailure")}</p>
          )}
        </Card>
      </div>
      <Statistics app={app} />
    </>
  );
}

const STATS: [string, Key][] = [
  ["startedAfterLastScaling", "statsAfterScaling"],
  ["withLatestConfig", "statsLatest"],
  ["withOutdatedConfig", "statsOutdated"],
  ["totalSummary", "statsTotal"],
];

/** How many instances there are of which kind, and how long they have lived. */
function Statistics({ app }: { app: App }) {
  const text = useText();
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  const { value } = usePolled(`stats ${app.id}`, () => api.stats(app.id), 10_000, loadedAt);
  const stats = value?.app.tasksStats ?? {};
  const rows = STATS.filter(([name]) => stats[name]);
  if (rows.length === 0) return null;
  return (
    <div class="table-wrap" tabIndex={0}>
      <table class="table" aria-label={text("statistics")}>
        <thead>
          <tr>
            <th scope="col">{text("instances")}</th><th scope="col" class="number">{text("running")}</th><th scope="col" class="number">{text("healthy")}</th>
            <th scope="col" class="number">{text("unhealthy")}</th><th scope="col" class="number">{text("staged")}</th><th scope="col" class="number">{text("medianLife")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, label]) => {
            const { counts, lifeTime } = stats[name]!.stats;
            return (
              <tr key={name}>
                <th scope="row">{text(label)}</th><td class="number">{counts.running}</td><td class="number">{counts.healthy}</td>
                <td class="number">{counts.unhealthy}</td><td class="number">{counts.staged}</td><td class="number">{lifeTime ? duration(lifeTime.medianSeconds) : "–"}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
