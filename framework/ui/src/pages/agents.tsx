// The agents: what each has, what of it is taken, what runs there; taking one out of service and back.

import { useRef, useState } from "preact/hooks";
import { api } from "../api";
import { Badge, Card, cpus, Empty, memory, Meter, shortId, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { ErrorText, NotThere } from "../components/errors";
import { ActionButton } from "../components/permitted";
import { WindowedTable } from "../components/windowed";
import { type Translate, useText } from "../i18n";
import { cluster } from "../live";
import { podTasks } from "../model";
import { type Polled, usePolled, useSettled } from "../polled";
import { appHref, href, place, podHref, useFilter } from "../router";
import { useStore } from "../store";
import type { Agent, Task } from "../types";
import { stateText } from "./events";
import { instanceHref } from "./instance";

const MOST_AT_ONCE = 2_000;

export function AgentsPage() {
  const { path } = useStore(place);
  return path[1] ? <OneAgent id={path[1]} /> : <AllAgents />;
}

function AllAgents() {
  const text = useText();
  const { value, error } = usePolled("agents", api.agents, 3_000);
  const [wanted, setWanted] = useFilter();
  const agents = (value?.agents ?? []).filter((agent) => matches(agent, wanted.toLowerCase()));
  return (
    <main class="page">
      <header class="page-head"><h1>{text("agents")}</h1></header>
      <div class="filters">
        <input type="search" aria-label={text("filterAgents")} placeholder={text("filterAgents")} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
      </div>
      {error && <ErrorText error={error} />}
      {value && agents.length === 0 && <Empty title={text(wanted ? "noMatch" : "noAgents")} />}
      {agents.length > 0 && (
        <WindowedTable rows={agents} rowHeight={52} columns={6} label={text("agents")}
          head={
            <tr>
              <th scope="col">{text("host")}</th><th scope="col">{text("status")}</th><th scope="col">{text("cpus")}</th>
              <th scope="col">{text("memory")}</th><th scope="col">{text("disk")}</th><th scope="col">{text("attributes")}</th>
            </tr>
          }
          row={(agent) => (
            <tr key={agent.id} class="tall">
              <th scope="row" class="name agent" translate={false}><a href={href(["agents", agent.id])} title={agent.id}>{agent.hostname}</a><br /><code class="faint">{shortId(agent.id)}</code></th>
              <td><AgentBadge agent={agent} text={text} /></td>
              <td><Meter label={text("cpus")} used={agent.used.cpus} total={agent.resources.cpus} show={cpus} /></td>
              <td><Meter label={text("memory")} used={agent.used.mem} total={agent.resources.mem} show={memory} /></td>
              <td><Meter label={text("disk")} used={agent.used.disk} total={agent.resources.disk} show={memory} /></td>
              <td translate={false}>{Object.entries(agent.attributes).map(([name, value]) => <span class="label" key={name}>{name}: {value}</span>)}</td>
            </tr>
          )} />
      )}
    </main>
  );
}

function matches(agent: Agent, wanted: string): boolean {
  return !wanted || [agent.hostname, agent.id, ...Object.entries(agent.attributes).flat()].some((part) => part.toLowerCase().includes(wanted));
}

export function AgentBadge({ agent, text }: { agent: Agent; text: Translate }) {
  if (agent.drain) return <Badge kind="warn">{text(agent.drain.state === "DRAINED" ? "drained" : "draining")}</Badge>;
  return agent.active ? <Badge kind="good">{text("active")}</Badge> : <Badge kind="warn">{text("inactive")}</Badge>;
}

function OneAgent({ id }: { id: string }) {
  const text = useText();
  const { value, error, again } = usePolled("agents", api.agents, 3_000);
  const { pods } = useStore(cluster);
  const tasks = useAllTasks();
  const [asked, setAsked] = useState(false);
  const agent = value?.agents.find((one) => one.id === id);
  if (!agent) return <main class="page">{value ? <Empty whole title={text("agentGone", { id })} /> : <NotThere error={error} />}</main>;
  const here = [...(tasks.value?.tasks ?? []), ...pods.flatMap(podTasks)].filter((task) => task.slaveId === id);
  return (
    <main class="page">
      <header class="page-head">
        <nav class="breadcrumbs" aria-label={text("agents")}>
          <ol><li><a href={href(["agents"])}>{text("agents")}</a></li><li translate={false}><h1>{agent.hostname}</h1></li></ol>
        </nav>
        <div class="actions">
          {agent.active && !agent.drain ? (
            <ActionButton verb="admin" path="/" kind="danger-text" onClick={() => setAsked(true)}>{text("drain")}</ActionButton>
          ) : (
            <ActionButton verb="admin" path="/" disabled={agent.drain?.state === "DRAINING"} onClick={() => void api.undrain(id).finally(again)}>{text("undrain")}</ActionButton>
          )}
        </div>
      </header>
      <Card>
        <dl class="facts row">
          <div><dt>{text("status")}</dt><dd><AgentBadge agent={agent} text={text} /></dd></div>
          <div><dt>{text("cpus")}</dt><dd><Meter label={text("cpus")} used={agent.used.cpus} total={agent.resources.cpus} show={cpus} /></dd></div>
          <div><dt>{text("memory")}</dt><dd><Meter label={text("memory")} used={agent.used.mem} total={agent.resources.mem} show={memory} /></dd></div>
          <div><dt>{text("disk")}</dt><dd><Meter label={text("disk")} used={agent.used.disk} total={agent.resources.disk} show={memory} /></dd></div>
          {agent.resources.gpus > 0 && <div><dt>GPU</dt><dd><Meter label="GPU" used={agent.used.gpus} total={agent.resources.gpus} show={cpus} /></dd></div>}
          <div><dt>{text("ports")}</dt><dd><code>{agent.resources.ports || "–"}</code></dd></div>
          <div><dt>{text("registered")}</dt><dd><When time={agent.registeredAt ? new Date(agent.registeredAt * 1000).toISOString() : null} /></dd></div>
          <div><dt>Mesos</dt><dd>{agent.version}</dd></div>
          <div class="wide"><dt>{text("agent")}</dt><dd><code>{agent.id}</code></dd></div>
          {Object.entries(agent.attributes).map(([name, value]) => <div key={name} translate={false}><dt>{name}</dt><dd>{value}</dd></div>)}
        </dl>
      </Card>
      {here.length > 0 ? <TaskTable tasks={here} isPod={new Set(pods.map((pod) => pod.id))} label={text("instances")} /> : <Empty title={text("noTasksHere")} />}
      {asked && (
        <ActionDialog title={text("drain")} question={text("drainQuestion", { host: agent.hostname, count: here.length })} confirm={text("drain")} danger
          onClose={() => (setAsked(false), again())} act={() => api.drain(id)} />
      )}
    </main>
  );
}

/** Instances of any apps and pods. */
function TaskTable({ tasks, isPod, label }: { tasks: Task[]; isPod: Set<string>; label: string }) {
  const text = useText();
  return (
    <WindowedTable rows={tasks} rowHeight={44} columns={5} label={label}
      head={
        <tr>
          <th scope="col">{text("task")}</th><th scope="col">{text("application")}</th><th scope="col">{text("state")}</th>
          <th scope="col">{text("host")}</th><th scope="col">{text("started")}</th>
        </tr>
      }
      row={(task) => (
        <tr key={task.id}>
          <th scope="row" class="name" translate={false}><a href={instanceHref(task.id, task.appId)} title={task.id}><code>{task.id}</code></a></th>
          <td class="name" translate={false}><a href={isPod.has(task.appId) ? podHref(task.appId) : appHref(task.appId)} title={task.appId}>{task.appId}</a></td>
          <td>{stateText(task.state, text)}</td>
          <td translate={false}>{task.host}{task.ports?.length ? <span class="faint">:{task.ports.join(", ")}</span> : null}</td>
          <td><When time={task.startedAt ?? task.stagedAt} /></td>
        </tr>
      )} />
  );
}

/** All instances of all applications and pods. */
export function InstancesPage() {
  const text = useText();
  const { pods } = useStore(cluster);
  const { value, error } = useAllTasks();
  const [wanted, setWanted] = useFilter();
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const isPod = new Set(pods.map((pod) => pod.id));
  const all = value ? [...value.tasks, ...pods.flatMap(podTasks)] : [];
  const tasks = all.filter((task) => words.every((word) => `${task.id} ${task.appId} ${task.host} ${task.state}`.toLowerCase().includes(word)));
  return (
    <main class="page">
      <header class="page-head"><h1>{text("instances")}</h1><span class="faint">{value ? tasks.length.toLocaleString() : ""}</span></header>
      <div class="filters">
        <input type="search" aria-label={text("filterInstances")} placeholder={text("filterInstances")} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
      </div>
      {error && <ErrorText error={error} />}
      {tasks.length > 0 ? <TaskTable tasks={tasks} isPod={isPod} label={text("instances")} /> : <Empty title={text(!value ? "connecting" : wanted ? "noMatch" : "noTasks")} />}
    </main>
  );
}

/** The list of all instances is asked for again when the cluster's picture has changed: at once, and a long one every five seconds. */
function useAllTasks(): Polled<{ tasks: Task[] }> {
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  const long = useRef(false);
  const tasks = usePolled("tasks", api.allTasks, 30_000, useSettled(loadedAt, long.current ? 5_000 : 250));
  long.current = (tasks.value?.tasks.length ?? 0) > MOST_AT_ONCE;
  return tasks;
}
