// "Is anything wrong?" in one look.

import { Badge, Card, Empty, HealthBar } from "../components/basics";
import { isKey, type Translate, useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, events } from "../live";
import { addHealth, health, HEALTH_KINDS } from "../model";
import { appHref, href } from "../router";
import { useStore } from "../store";
import type { App, QueueItem } from "../types";
import { DeploymentCard } from "./deployments";
import { Timeline } from "./events";

const RECENT_FAILURE_MS = 10 * 60_000;

export function OverviewPage() {
  const text = useText();
  const { apps, queue, deployments, info, leader, loadedAt } = useStore(cluster);
  const recent = useStore(events);
  if (loadedAt === 0) return <main class="page"><Empty title={text("connecting")} /></main>;
  const all = addHealth(apps.map(health));
  const instances = apps.reduce((sum, app) => sum + app.tasksRunning, 0);
  const waiting = queue.reduce((sum, item) => sum + item.count, 0);
  return (
    <main class="page">
      <header class="page-head"><h1>{text("overview")}</h1></header>
      <div class="tiles">
        <Tile label={text("totalApps")} value={apps.length} to={href(["apps"])} />
        <Tile label={text("totalInstances")} value={instances} to={href(["apps"], { view: "flat" })} />
        <Tile label={text("totalDeployments")} value={deployments.length} to={href(["deployments"])} />
        <Tile label={text("totalWaiting")} value={waiting} to={href(["apps"], { view: "flat", status: "Waiting,Delayed" })} warn={waiting > 0} />
      </div>
      <Card title={text("health")}>
        <HealthBar health={all} />
        <p class="legend">
          {HEALTH_KINDS.filter((kind) => all[kind] > 0).map((kind) => (
            <span key={kind}><i class={`dot health-${kind}`} aria-hidden="true" />{all[kind]} {text(kind)}</span>
          ))}
        </p>
      </Card>
      <Attention apps={apps} queue={queue} />
      {deployments.length > 0 && <Card title={text("totalDeployments")}>{deployments.slice(0, 3).map((item) => <DeploymentCard key={item.id} deployment={item} />)}</Card>}
      {recent.length > 0 && <Card title={text("timeline")}><Timeline events={recent.slice(0, 8)} /></Card>}
      <p class="faint facts">
        {text("leader")} <code>{leader ?? "–"}</code> · {text("framework")} <code>{info?.frameworkId ?? "–"}</code> · {text("version")} {info?.version}
      </p>
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

function Attention({ apps, queue }: { apps: App[]; queue: QueueItem[] }) {
  const text = useText();
  const problems = [
    ...apps.filter((app) => app.tasksUnhealthy > 0).map((app) => ({
      id: app.id, kind: "bad", label: text("unhealthy"), why: text("problemUnhealthy", { count: app.tasksUnhealthy, total: app.tasksRunning }),
    })),
    ...queue.filter((item) => item.app && item.count > 0).map((item) => ({
      id: item.app!.id, kind: "warn", label: text("waiting"), why: text("problemWaiting", { count: item.count, why: reasonsOf(item, text).join(", ") || "…" }),
    })),
    ...apps.filter(failsNow).map((app) => ({
      id: app.id, kind: "bad", label: text("lastFailure"), why: text("problemFailing", { why: `${app.lastTaskFailure!.state}: ${app.lastTaskFailure!.message}` }),
    })),
  ];
  if (problems.length === 0) {
    return <Card><div class="well"><span class="tick" aria-hidden="true">✓</span><div><strong>{text("allWell")}</strong><p class="faint">{text("allWellExplained")}</p></div></div></Card>;
  }
  return (
    <Card title={text("attention")}>
      <ul class="problems">
        {problems.slice(0, 50).map((problem, index) => (
          <li key={index}>
            <Badge kind={problem.kind}>{problem.label}</Badge>
            <a href={appHref(problem.id, "debug")}>{problem.id}</a>
            <span>{problem.why}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function failsNow(app: App): boolean {
  const failure = app.lastTaskFailure;
  return Boolean(failure) && app.tasksRunning < app.instances && Date.now() - Date.parse(failure!.timestamp) < RECENT_FAILURE_MS;
}

/** Why offers were refused, in plain words, the most frequent first. */
export function reasonsOf(item: QueueItem, text: Translate): string[] {
  return [...item.processedOffersSummary.rejectSummaryLastOffers]
    .filter((entry) => entry.declined > 0)
    .sort((a, b) => b.declined - a.declined)
    .map((entry) => `${isKey(`reason${entry.reason}`) ? text(`reason${entry.reason}` as Key) : entry.reason} (${entry.declined}×)`);
}
