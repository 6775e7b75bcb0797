// "Is anything wrong?" in one look.

import { api } from "../api";
import { Badge, Card, Empty, HealthBar } from "../components/basics";
import { reasonsOf } from "../components/waiting";
import { type Translate, useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, events } from "../live";
import { addHealth, health, HEALTH_KINDS, podHealth } from "../model";
import { usePolled } from "../polled";
import { appHref, href, podHref } from "../router";
import { useStore } from "../store";
import type { Agent, App, Daemon, Pod, QueueItem, StreamEvent } from "../types";
import { DeploymentCard } from "./deployments";
import { Timeline } from "./events";

const RECENT_FAILURE_MS = 10 * 60_000;
const FLAPPING = 3; // failures within that time
const MOST_PROBLEMS = 50;

export function OverviewPage() {
  const text = useText();
  const { apps, pods, queue, deployments, info, leader, loadedAt } = useStore(cluster);
  const recent = useStore(events);
  const daemons = usePolled("daemons", api.daemons, 4_000);
  const agents = usePolled("agents", api.agents, 4_000);
  if (loadedAt === 0) return <main class="page"><Empty whole title={text("connecting")} /></main>;
  const out = agents.value?.agents.filter((agent) => agent.drain || !agent.active).length ?? 0;
  const all = addHealth([...apps.map(health), ...pods.map(podHealth)]);
  const instances = apps.reduce((sum, app) => sum + app.tasksRunning, 0) + pods.reduce((sum, pod) => sum + pod.instances.length, 0);
  const waiting = queue.reduce((sum, item) => sum + item.count, 0);
  return (
    <main class="page">
      <header class="page-head"><h1>{text("overview")}</h1></header>
      <div class="tiles">
        <Tile label={text("totalApps")} value={apps.length} to={href(["apps"])} />
        {pods.length > 0 && <Tile label={text("pods")} value={pods.length} to={href(["pods"])} />}
        <Tile label={text("totalInstances")} value={instances} to={href(["instances"])} />
        <Tile label={text("totalDeployments")} value={deployments.length} to={href(["deployments"])} />
        <Tile label={text("totalWaiting")} value={waiting} to={href(["apps"], { view: "flat", status: "Waiting,Delayed" })} warn={waiting > 0} />
        <Tile label={out > 0 ? `${text("agents")} (${text("drained")}: ${out})` : text("totalAgents")} value={agents.value?.agents.length ?? 0} to={href(["agents"])} warn={out > 0} />
      </div>
      <Card title={text("health")}>
        <HealthBar health={all} />
        <p class="legend">
          {HEALTH_KINDS.filter((kind) => all[kind] > 0).map((kind) => (
            <span key={kind}><i class={`dot health-${kind}`} aria-hidden="true" />{all[kind]} {text(kind)}</span>
          ))}
        </p>
      </Card>
      <Attention apps={apps} pods={pods} queue={queue} recent={recent} agents={agents.value?.agents ?? []} daemons={daemons.value?.daemons ?? []} />
      {deployments.length > 0 && <Card title={text("totalDeployments")}>{deployments.slice(0, 3).map((item) => <DeploymentCard key={item.id} deployment={item} />)}</Card>}
      {recent.length > 0 && <Card title={text("timeline")}><Timeline events={recent.slice(0, 8)} /></Card>}
      <Card title={text("platform")}>
        <ul class="daemons">
          {daemons.value?.daemons.map((daemon) => (
            <li key={daemon.name} title={daemon.why}>
              <span class={`dot health-${daemon.healthy ? "healthy" : "unhealthy"}`} aria-hidden="true" /> <span translate={false}>{daemon.name}</span> <span class="faint">{text(daemon.healthy ? "ok" : "ill")}</span>
            </li>
          ))}
        </ul>
        <p class="faint small">
          {text("leader")} <code>{leader ?? "–"}</code> · {text("framework")} <code>{info?.frameworkId ?? "–"}</code> · {text("version")} {info?.version}
        </p>
      </Card>
    </main>
  );
}

function Tile({ label, value, to, warn }: { label: string; value: number; to: string; warn?: boolean }) {
  return (
    <a class={warn ? "tile warn" : "tile"} href={to}>
      <span class="tile-value">{value.toLocaleString()}</span>
      <span class="tile-label">{label}</span>
    </a>
  );
}

interface Problem {
  label: string;
  kind: string;
  name: string;
  to: string;
  why: string;
  said?: string; // by who knows, in their words
}

/** One line for each application, pod, agent and daemon with which something is wrong; what is worst comes first. */
function problemsOf(apps: App[], pods: Pod[], queue: QueueItem[], recent: StreamEvent[], agents: Agent[], daemons: Daemon[], text: Translate): Problem[] {
  const waiting = new Map(queue.filter((item) => item.count > 0).map((item) => [(item.app ?? item.pod)!.id, item]));
  const failures = failuresByApp(recent);
  const line = (id: string, to: string, kind: string, label: Key, why: string, said = ""): Problem[] => [{ kind, label: text(label), name: id, to, why, said }];
  const waits = (item: QueueItem) => text("problemWaiting", { count: item.count, why: reasonsOf(item, text).join(", ") || "…" });
  const ofApps = apps.flatMap((app): Problem[] => {
    const to = appHref(app.id, "debug");
    const item = waiting.get(app.id);
    const failed = (failures.get(app.id) ?? []).filter((version) => version >= (app.versionInfo?.lastConfigChangeAt ?? "")).length;
    const last = app.lastTaskFailure ? `${app.lastTaskFailure.state}: ${app.lastTaskFailure.message}` : "";
    if (failed >= FLAPPING) return line(app.id, to, "bad", "flapping", text("problemFlapping", { count: failed }), last);
    if (failsNow(app)) return line(app.id, to, "bad", "failing", text("problemFailing"), last);
    if (app.tasksUnhealthy > 0) return line(app.id, to, "bad", "unhealthy", text("problemUnhealthy", { count: app.tasksUnhealthy, total: app.tasksRunning }));
    if (item) return line(app.id, to, "warn", "waiting", waits(item));
    return [];
  });
  const ofPods = pods.flatMap((pod): Problem[] => {
    const to = podHref(pod.id, "debug");
    const { unhealthy } = podHealth(pod);
    const item = waiting.get(pod.id);
    const failed = failures.get(pod.id)?.length ?? 0;
    if (failed >= FLAPPING) return line(pod.id, to, "bad", "flapping", text("problemFlapping", { count: failed }));
    if (unhealthy > 0) return line(pod.id, to, "bad", "unhealthy", text("problemUnhealthy", { count: unhealthy, total: pod.instances.length }));
    if (item) return line(pod.id, to, "warn", "waiting", waits(item));
    return [];
  });
  const ofSpecs = [...ofApps, ...ofPods];
  return [
    ...daemons.filter((daemon) => !daemon.healthy).map((daemon) => ({ kind: "bad", label: text("ill"), name: daemon.name, to: href([]), why: text("problemDaemon"), said: daemon.why })),
    ...ofSpecs.filter((problem) => problem.kind === "bad"),
    ...agents.filter((agent) => agent.drain || !agent.active).map((agent) => ({
      kind: "warn", label: text(agent.drain?.state === "DRAINING" ? "draining" : agent.drain ? "drained" : "inactive"), name: agent.hostname, to: href(["agents", agent.id]), why: text("problemAgent"),
    })),
    ...ofSpecs.filter((problem) => problem.kind !== "bad"),
  ];
}

/** Of each, the versions of which an instance failed: those of an older configuration speak of what has been mended. */
function failuresByApp(recent: StreamEvent[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const event of recent) {
    if (Date.now() - Date.parse(event.timestamp) > RECENT_FAILURE_MS) break;
    if (event.eventType !== "status_update_event" || !/^TASK_(FAILED|ERROR|LOST)$/.test(String(event.taskStatus))) continue;
    const id = String(event.appId);
    found.set(id, [...(found.get(id) ?? []), String(event.version ?? "")]);
  }
  return found;
}

function Attention({ apps, pods, queue, recent, agents, daemons }: { apps: App[]; pods: Pod[]; queue: QueueItem[]; recent: StreamEvent[]; agents: Agent[]; daemons: Daemon[] }) {
  const text = useText();
  const problems = problemsOf(apps, pods, queue, recent, agents, daemons, text);
  if (problems.length === 0) {
    return <Card><div class="well"><span class="tick" aria-hidden="true">✓</span><div><strong>{text("allWell")}</strong><p class="faint">{text("allWellExplained")}</p></div></div></Card>;
  }
  return (
    <Card title={text("attention")}>
      <ul class="problems">
        {problems.slice(0, MOST_PROBLEMS).map((problem) => (
          <li key={problem.name}>
            <Badge kind={problem.kind}>{problem.label}</Badge>
            <a href={problem.to} translate={false}>{problem.name}</a>
            <span>{problem.why}{problem.said && <span translate={false}>: {problem.said}</span>}</span>
          </li>
        ))}
      </ul>
      {problems.length > MOST_PROBLEMS && <p class="faint">+{problems.length - MOST_PROBLEMS}</p>}
    </Card>
  );
}

function failsNow(app: App): boolean {
  const failure = app.lastTaskFailure;
  return Boolean(failure) && app.tasksRunning < app.instances && Date.now() - Date.parse(failure!.timestamp) < RECENT_FAILURE_MS;
}
