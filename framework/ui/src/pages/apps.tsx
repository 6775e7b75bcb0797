// The applications, grouped or flat, filtered by what stands in the address.

import { useMemo, useState } from "preact/hooks";
import { api } from "../api";
import { cpus, Empty, HealthBar, memory, StatusBadge } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { EditDialog } from "../components/edit";
import { ActionButton } from "../components/permitted";
import { WindowedTable } from "../components/windowed";
import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import { cluster, refresh } from "../live";
import { addHealth, flatRows, hasVolumes, health, HEALTH_KINDS, matchesLabel, type Row, rowsOf, status, STATUSES } from "../model";
import { appHref, go, groupHref, href, place, setQuery } from "../router";
import { useStore } from "../store";
import type { App, QueueItem } from "../types";

type Sort = "name" | "cpus" | "mem" | "instances";

export function AppsPage() {
  const text = useText();
  const { path, query } = useStore(place);
  const { apps, queue, loadedAt } = useStore(cluster);
  const [dialog, setDialog] = useState<"create" | "group" | "destroy" | null>(query.get("create") ? "create" : null);
  const group = `/${path.slice(1).join("/")}`;
  const queued = useMemo(() => new Map(queue.flatMap((item) => (item.app ? [[item.app.id, item] as const] : []))), [queue]);
  const inside = useMemo(() => apps.filter((app) => group === "/" || app.id.startsWith(`${group}/`)), [apps, group]);
  const rows = useMemo(() => visibleRows(inside, group, query, queued), [inside, group, query, queued]);
  const filtered = ["text", "status", "health", "label", "volumes"].some((key) => query.get(key));

  return (
    <main class="page">
      <header class="page-head">
        <Breadcrumbs path={path.slice(1)} />
        <div class="actions">
          {group !== "/" && <ActionButton verb="delete" path={group} kind="danger-text" onClick={() => setDialog("destroy")}>{text("destroy")}</ActionButton>}
          <ActionButton verb="create" path={group} onClick={() => setDialog("group")}>{text("createGroup")}</ActionButton>
          <ActionButton verb="create" path={group} kind="primary" id="action-create" onClick={() => setDialog("create")}>{text("create")}</ActionButton>
        </div>
      </header>
      <Filters />
      {rows.length > 0 ? (
        <AppsTable rows={rows} group={group} queued={queued} />
      ) : loadedAt === 0 ? (
        <Empty title={text("connecting")} />
      ) : filtered ? (
        <Empty title={text("noMatch")}>
          <button type="button" onClick={() => setQuery({ text: "", status: "", health: "", label: "", volumes: "" })}>{text("clearFilters")}</button>
        </Empty>
      ) : (
        <Empty title={text("noApps")}>{text("noAppsExplained")}</Empty>
      )}
      {dialog === "create" && <EditDialog group={group} onClose={() => (setQuery({ create: "" }), setDialog(null))} />}
      {dialog === "group" && <GroupDialog parent={group} onClose={() => setDialog(null)} />}
      {dialog === "destroy" && (
        <ActionDialog title={text("destroy")} question={text("destroyGroupQuestion", { id: group, count: inside.length })} confirm={text("destroy")} danger
          typed={group} onClose={() => (setDialog(null), refresh(0))}
          act={async (force) => (await api.destroyGroup(group, force), go(["apps", ...path.slice(1, -1)]))} />
      )}
    </main>
  );
}

function visibleRows(apps: App[], group: string, query: URLSearchParams, queued: Map<string, QueueItem>): Row[] {
  const wanted = query.get("text")?.toLowerCase() ?? "";
  const statuses = query.get("status")?.split(",") ?? [];
  const healths = query.get("health")?.split(",") ?? [];
  const label = query.get("label") ?? "";
  const matching = apps.filter(
    (app) =>
      (!wanted || app.id.toLowerCase().includes(wanted)) &&
      (!statuses.length || statuses.includes(status(app, queued.get(app.id)))) &&
      (!healths.length || healths.some((kind) => health(app)[kind as keyof ReturnType<typeof health>] > 0)) &&
      (!label || matchesLabel(app, label)) &&
      (!query.get("volumes") || hasVolumes(app)),
  );
  const flat = query.get("view") === "flat" || Boolean(wanted);
  const rows = flat ? flatRows(matching) : rowsOf(matching, group);
  const sort = (query.get("sort") ?? "name") as Sort;
  const down = query.get("order") === "down" ? -1 : 1;
  if (sort === "name") return down === 1 ? rows : rows.reverse();
  return rows.sort((a, b) => down * (total(a, sort) - total(b, sort)));
}

function total(row: Row, what: Exclude<Sort, "name">): number {
  return row.apps.reduce((sum, app) => sum + (what === "instances" ? app.instances : app[what] * app.instances), 0);
}

function AppsTable({ rows, group, queued }: { rows: Row[]; group: string; queued: Map<string, QueueItem> }) {
  const text = useText();
  const head = (
    <tr>
      <Sortable by="name" label={text("name")} />
      <Sortable by="cpus" label={text("cpus")} number />
      <Sortable by="mem" label={text("memory")} number />
      <th scope="col">{text("status")}</th>
      <Sortable by="instances" label={text("instances")} number />
      <th scope="col" class="health-column">{text("health")}</th>
    </tr>
  );
  return (
    <WindowedTable rows={rows} rowHeight={44} columns={6} head={head} label={text("applications")}
      row={(row) => <AppRow key={row.id} row={row} group={group} queued={queued} />} />
  );
}

function Sortable({ by, label, number }: { by: Sort; label: string; number?: boolean }) {
  const { query } = useStore(place);
  const active = (query.get("sort") ?? "name") === by;
  const down = active && query.get("order") === "down";
  return (
    <th scope="col" class={number ? "number" : ""} aria-sort={active ? (down ? "descending" : "ascending") : "none"}>
      <button type="button" class="sort" onClick={() => setQuery({ sort: by === "name" ? "" : by, order: active && !down ? "down" : "" })}>
        {label} <span aria-hidden="true">{active ? (down ? "↓" : "↑") : ""}</span>
      </button>
    </th>
  );
}

function AppRow({ row, group, queued }: { row: Row; group: string; queued: Map<string, QueueItem> }) {
  const all = addHealth(row.apps.map(health));
  const running = row.apps.reduce((sum, app) => sum + app.tasksRunning, 0);
  const wanted = row.apps.reduce((sum, app) => sum + app.instances, 0);
  const app = row.kind === "app" ? row.apps[0]! : null;
  const name = group !== "/" && row.id.startsWith(`${group}/`) ? row.id.slice(group.length + 1) : row.id.slice(1);
  return (
    <tr>
      <th scope="row" class="name" translate={false}>
        <a href={app ? appHref(row.id) : groupHref(row.id)} title={row.id}>
          <span class={app ? "glyph app" : "glyph group"} aria-hidden="true" />
          {name}
        </a>
        {app && Object.entries(app.labels ?? {}).filter(([key]) => !/^(HAPROXY|DROMOS)_/.test(key)).slice(0, 3).map(([key, value]) => (
          <a class="label" key={key} href={href(["apps"], { view: "flat", label: `${key}==${value}` })}>{value ? `${key}: ${value}` : key}</a>
        ))}
      </th>
      <td class="number">{cpus(total(row, "cpus"))}</td>
      <td class="number">{memory(total(row, "mem"))}</td>
      <td>{app && <StatusBadge status={status(app, queued.get(app.id))} />}</td>
      <td class="number">{running}<span class="faint"> / {wanted}</span></td>
      <td class="health-column"><HealthBar health={all} /></td>
    </tr>
  );
}

function Filters() {
  const text = useText();
  const { query } = useStore(place);
  const toggle = (key: string, value: string) => {
    const chosen = new Set(query.get(key)?.split(",").filter(Boolean));
    chosen.has(value) ? chosen.delete(value) : chosen.add(value);
    setQuery({ [key]: [...chosen].join(",") });
  };
  const chosen = (key: string, value: string) => query.get(key)?.split(",").includes(value) ?? false;
  return (
    <div class="filters">
      <input type="search" class="short" aria-label={text("filterText")} placeholder={text("filterText")} value={query.get("text") ?? ""}
        onInput={(event) => setQuery({ text: event.currentTarget.value })} />
      <input aria-label={text("filterLabel")} placeholder={text("filterLabel")} value={query.get("label") ?? ""}
        onInput={(event) => setQuery({ label: event.currentTarget.value })} />
      <div class="chips" role="group" aria-label={text("status")}>
        {STATUSES.map((value) => (
          <button type="button" class="chip" key={value} aria-pressed={chosen("status", value)} onClick={() => toggle("status", value)}>
            {text(value.toLowerCase() as Key)}
          </button>
        ))}
      </div>
      <div class="chips" role="group" aria-label={text("health")}>
        {HEALTH_KINDS.slice(0, 3).map((value) => (
          <button type="button" class="chip" key={value} aria-pressed={chosen("health", value)} onClick={() => toggle("health", value)}>
            {text(value)}
          </button>
        ))}
      </div>
      <button type="button" class="chip" aria-pressed={Boolean(query.get("volumes"))} onClick={() => setQuery({ volumes: query.get("volumes") ? "" : "1" })}>{text("withVolumes")}</button>
      <div class="chips end" role="group" aria-label={text("grouped")}>
        <button type="button" class="chip" aria-pressed={query.get("view") !== "flat"} onClick={() => setQuery({ view: "" })}>{text("grouped")}</button>
        <button type="button" class="chip" aria-pressed={query.get("view") === "flat"} onClick={() => setQuery({ view: "flat" })}>{text("flat")}</button>
      </div>
    </div>
  );
}

/** `linked`: the path is that of an application, not of a group. */
export function Breadcrumbs({ path, leaf, linked = false }: { path: string[]; leaf?: string; linked?: boolean }) {
  const text = useText();
  return (
    <nav class="breadcrumbs" aria-label={text("applications")}>
      <ol>
        <li>{path.length === 0 && !leaf ? <h1>{text("applications")}</h1> : <a href={href(["apps"])}>{text("applications")}</a>}</li>
        {path.map((segment, index) => (
          <li key={index} translate={false}>
            {index === path.length - 1 && !leaf ? <h1>{segment}</h1> : <a href={(linked && index === path.length - 1 ? appHref : groupHref)(`/${path.slice(0, index + 1).join("/")}`)}>{segment}</a>}
          </li>
        ))}
        {leaf && <li translate={false}><h1>{leaf}</h1></li>}
      </ol>
    </nav>
  );
}

function GroupDialog({ parent, onClose }: { parent: string; onClose: () => void }) {
  const text = useText();
  const [id, setId] = useState(parent === "/" ? "/" : `${parent}/`);
  return (
    <ActionDialog title={text("createGroup")} question={text("name")} confirm={text("createGroup")} onClose={onClose}
      act={async () => (await api.createGroup(id), refresh(0), go(["apps", ...id.split("/").filter(Boolean)]))}>
      <input autoFocus aria-label={text("name")} value={id} onInput={(event) => setId(event.currentTarget.value)} />
    </ActionDialog>
  );
}
