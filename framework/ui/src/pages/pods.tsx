// The pods, and one of them: its instances with their containers, its configuration, why it waits, its volumes and events.

import { useEffect, useState } from "preact/hooks";
import { api, ApiError } from "../api";
import { Badge, Card, cpus, Empty, HealthBar, memory, shortId, StatusBadge, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { NotThere } from "../components/errors";
import { History } from "../components/history";
import { ActionButton } from "../components/permitted";
import { PodDialog } from "../components/podedit";
import { Tabs } from "../components/tabs";
import { WhyWaiting } from "../components/waiting";
import { WindowedTable } from "../components/windowed";
import { useText } from "../i18n";
import { cluster, refresh } from "../live";
import { podDefinition, podHealth, podInstanceHealth, podInstances, podResources, podStatus } from "../model";
import { go, href, place, podHref, setQuery, useFilter } from "../router";
import { useStore } from "../store";
import type { JsonObject, Pod, PodInstance, PodSpec, QueueItem } from "../types";
import { EventsOf, stateText } from "./events";
import { instanceHref } from "./instance";
import { Volumes } from "./volumes";

const TABS = ["instances", "configuration", "debug", "volumes", "events"] as const;
type Tab = (typeof TABS)[number];

export function PodsPage() {
  const text = useText();
  const { query } = useStore(place);
  const { pods, queue, deployments, loadedAt } = useStore(cluster);
  const [creating, setCreating] = useState(Boolean(query.get("create")));
  const [wanted, setWanted] = useFilter();
  const shown = pods.filter((pod) => pod.id.toLowerCase().includes(wanted.toLowerCase())).sort((a, b) => (a.id < b.id ? -1 : 1));
  const queued = queuedPods(queue);
  return (
    <main class="page">
      <header class="page-head">
        <h1>{text("pods")}</h1>
        <div class="actions"><ActionButton verb="create" path="/" kind="primary" id="action-create" onClick={() => setCreating(true)}>{text("createPod")}</ActionButton></div>
      </header>
      <div class="filters">
        <input type="search" aria-label={text("filterText")} placeholder={text("filterText")} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
      </div>
      {shown.length > 0 ? (
        <WindowedTable rows={shown} rowHeight={44} columns={7} label={text("pods")}
          head={
            <tr>
              <th scope="col">{text("name")}</th><th scope="col">{text("containers")}</th><th scope="col" class="number">{text("cpus")}</th><th scope="col" class="number">{text("memory")}</th>
              <th scope="col">{text("status")}</th><th scope="col" class="number">{text("instances")}</th><th scope="col" class="health-column">{text("health")}</th>
            </tr>
          }
          row={(pod) => (
            <tr key={pod.id}>
              <th scope="row" class="name" translate={false}><a href={podHref(pod.id)} title={pod.id}><span class="glyph pod" aria-hidden="true" />{pod.id.slice(1)}</a></th>
              <td class="name containers" translate={false}>{pod.spec.containers.map((container) => container.name).join(", ")}</td>
              <td class="number">{cpus(podResources(pod).cpus * podInstances(pod))}</td>
              <td class="number">{memory(podResources(pod).mem * podInstances(pod))}</td>
              <td><StatusBadge status={podStatus(pod, queued.get(pod.id), deployments)} /></td>
              <td class="number">{stable(pod)}<span class="faint"> / {podInstances(pod)}</span></td>
              <td class="health-column"><HealthBar health={podHealth(pod)} /></td>
            </tr>
          )} />
      ) : (
        <Empty title={text(loadedAt === 0 ? "connecting" : wanted ? "noMatch" : "noPods")}>{loadedAt > 0 && !wanted && text("noPodsExplained")}</Empty>
      )}
      {creating && <PodDialog onClose={() => (setQuery({ create: "" }), setCreating(false))} />}
    </main>
  );
}

export function queuedPods(queue: QueueItem[]): Map<string, QueueItem> {
  return new Map(queue.flatMap((item) => (item.pod ? [[item.pod.id, item] as const] : [])));
}

function stable(pod: Pod): number {
  return pod.instances.filter((instance) => instance.status === "STABLE").length;
}

export function PodPage() {
  const text = useText();
  const { path, query } = useStore(place);
  const id = `/${path.slice(1).join("/")}`;
  const { queue, deployments } = useStore(cluster);
  const { pod, error } = usePod(id);
  const tab = (TABS as readonly string[]).includes(query.get("tab") ?? "") ? (query.get("tab") as Tab) : "instances";
  const [draft, setDraft] = useState<Record<string, unknown> | null>(null);
  if (error?.status === 404) return <main class="page"><Empty whole title={text("podGone", { id })} /></main>;
  if (!pod) return <main class="page"><NotThere error={error} /></main>;
  const queued = queuedPods(queue).get(id);
  return (
    <main class="page">
      <header class="page-head">
        <nav class="breadcrumbs" aria-label={text("pods")}>
          <ol><li><a href={href(["pods"])}>{text("pods")}</a></li><li><h1 translate={false}>{id.slice(1)}</h1></li></ol>
        </nav>
        <PodActions pod={pod} onEdit={() => setDraft(podDefinition(pod.spec))} />
      </header>
      <div class="summary">
        <StatusBadge status={podStatus(pod, queued, deployments)} />
        <span><strong>{stable(pod)}</strong> / {podInstances(pod)} {text("instances").toLowerCase()}</span>
        <span>{cpus(podResources(pod).cpus)} {text("cpus")}</span>
        <span>{memory(podResources(pod).mem)}</span>
        <HealthBar health={podHealth(pod)} />
      </div>
      <Tabs label={text("sections")} tabs={TABS.map((name) => ({ label: text(name), to: podHref(id, name === "instances" ? "" : name), current: tab === name }))} />
      {tab === "instances" && <PodInstances pod={pod} />}
      {tab === "configuration" && (
        <History id={id} current={pod.spec.version} definition={podDefinition(pod.spec)} list={() => api.podVersions(id)}
          at={async (version) => podDefinition(await api.podVersion(id, version))}
          rollBack={(_version, old, force) => api.updatePod(id, old as JsonObject, force)} onEdit={setDraft} />
      )}
      {tab === "debug" && <PodDebug pod={pod} queued={queued} />}
      {tab === "volumes" && (
        <Volumes id={id} declared={pod.spec.volumes ?? []} wipe={(volume) => api.killPodInstances(id, [volume.instanceId], true)} />
      )}
      {tab === "events" && <EventsOf id={id} uri={`/v2/pods${id}`} />}
      {draft && <PodDialog pod={pod.spec} draft={draft} onClose={() => setDraft(null)} />}
    </main>
  );
}

/** The pod's status, asked for again whenever the cluster's picture has changed. */
function usePod(id: string): { pod: Pod | null; error: ApiError | null } {
  const listed = useStore(cluster, (value) => value.pods.find((pod) => pod.id === id) ?? null);
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  const [error, setError] = useState<ApiError | null>(null);
  useEffect(() => {
    // What is not in the list may not be there, or not be for us.
    let wanted = true;
    setError(null);
    if (!listed && loadedAt > 0) api.pod(id).then(() => refresh(0), (failure: ApiError) => wanted && setError(failure));
    return () => {
      wanted = false;
    };
  }, [id, listed === null, loadedAt]);
  return { pod: listed, error };
}

function PodActions({ pod, onEdit }: { pod: Pod; onEdit: () => void }) {
  const text = useText();
  const [open, setOpen] = useState<"scale" | "suspend" | "destroy" | null>(null);
  const [instances, setInstances] = useState(0);
  const close = () => (setOpen(null), refresh(0));
  const id = pod.id;
  const scale = (count: number, force: boolean) =>
    api.updatePod(id, { ...podDefinition(pod.spec), scaling: { kind: "fixed", instances: count } } as JsonObject, force);
  return (
    <div class="actions">
      <ActionButton verb="update" path={id} kind="primary" id="action-scale" onClick={() => (setInstances(podInstances(pod)), setOpen("scale"))}>{text("scale")}</ActionButton>
      <ActionButton verb="update" path={id} onClick={onEdit}>{text("edit")}</ActionButton>
      <ActionButton verb="update" path={id} disabled={podInstances(pod) === 0} onClick={() => setOpen("suspend")}>{text("suspend")}</ActionButton>
      <ActionButton verb="delete" path={id} kind="danger-text" onClick={() => setOpen("destroy")}>{text("destroy")}</ActionButton>
      {open === "scale" && (
        <ActionDialog title={text("scale")} question={text("scaleTo", { id })} confirm={text("scale")} onClose={close} act={(force) => scale(instances, force)}>
          <input type="number" min={0} autoFocus aria-label={text("instances")} value={instances}
            onInput={(event) => setInstances(Math.max(0, Number(event.currentTarget.value) || 0))} />
        </ActionDialog>
      )}
      {open === "suspend" && (
        <ActionDialog title={text("suspend")} question={text("suspendQuestion", { id })} confirm={text("suspend")} onClose={close} act={(force) => scale(0, force)} />
      )}
      {open === "destroy" && (
        <ActionDialog title={text("destroy")} question={text("destroyQuestion", { id })} confirm={text("destroy")} danger typed={id} onClose={close}
          act={async (force) => (await api.destroyPod(id, force), go(["pods"]))} />
      )}
    </div>
  );
}

function PodInstances({ pod }: { pod: Pod }) {
  const text = useText();
  const [asked, setAsked] = useState<{ instance: PodInstance; wipe: boolean } | null>(null);
  const keeps = (pod.spec.volumes ?? []).some((volume) => volume.persistent);
  if (pod.instances.length === 0) return <Empty title={text("noTasks")} />;
  return (
    <>
      {pod.instances.map((instance) => {
        const is = podInstanceHealth(instance);
        return (
          <section class="card" key={instance.id}>
            <header class="card-head">
              <h2 class="pod-instance"><span class={`dot health-${is}`} title={text(is)} /> <code title={instance.id} translate={false}>{shortId(instance.id)}</code></h2>
              <div class="actions">
                <ActionButton verb="update" path={pod.id} kind="danger-text" onClick={() => setAsked({ instance, wipe: false })}>{text("kill")}</ActionButton>
                {keeps && <ActionButton verb="update" path={pod.id} kind="danger-text" onClick={() => setAsked({ instance, wipe: true })}>{text("killWipe")}</ActionButton>}
              </div>
            </header>
            <p class="faint legend">
              <span>{text(`pod:${instance.status}`)}</span><a href={href(["agents", instance.agentId])} translate={false}>{instance.agentHostname}</a>
              <span translate={false}>{instance.networks.flatMap((network) => network.addresses).filter((address) => address !== instance.agentHostname).join(", ")}</span>
              <When time={instance.statusSince} />
              <VersionOf instance={instance} pod={pod.spec} />
            </p>
            <div class="table-wrap bare" tabIndex={0}>
              <table class="table" aria-label={text("containers")}>
                <thead><tr><th scope="col">{text("container")}</th><th scope="col">{text("state")}</th><th scope="col">{text("health")}</th><th scope="col">{text("endpoints")}</th><th scope="col">{text("message")}</th></tr></thead>
                <tbody>
                  {instance.containers.map((container) => {
                    const health = container.conditions.find((condition) => condition.name === "healthy");
                    const well = !health ? "unknown" : health.value === "true" ? "healthy" : "unhealthy";
                    return (
                      <tr key={container.containerId}>
                        <th scope="row" translate={false}><a href={instanceHref(container.containerId, pod.id)} title={container.containerId}>{container.name}</a></th>
                        <td>{stateText(container.status, text)}</td>
                        <td><span class={`dot health-${well}`} aria-hidden="true" /> {text(well)}</td>
                        <td translate={false}>{container.endpoints.map((endpoint) => (endpoint.allocatedHostPort ? `${endpoint.name}:${endpoint.allocatedHostPort}` : endpoint.name)).join(", ") || "–"}</td>
                        <td class="name" translate={false} title={container.message}>{container.message ?? ""}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
          </section>
        );
      })}
      {asked && (
        <ActionDialog title={text(asked.wipe ? "killWipe" : "kill")} question={`${text(asked.wipe ? "killWipeQuestion" : "killQuestion")}\n\n${asked.instance.id}`} confirm={text(asked.wipe ? "killWipe" : "kill")} danger
          onClose={() => (setAsked(null), refresh(0))} act={() => api.killPodInstances(pod.id, [asked.instance.id], asked.wipe)} />
      )}
    </>
  );
}

function VersionOf({ instance, pod }: { instance: PodInstance; pod: PodSpec }) {
  const text = useText();
  const version = instance.specReference.split("::versions/")[1] ?? "";
  return version === pod.version ? <span>{text("current")}</span> : <span>{text("version")} <code>{version}</code></span>;
}

function PodDebug({ pod, queued }: { pod: Pod; queued?: QueueItem }) {
  const text = useText();
  const said = pod.instances.flatMap((instance) => instance.containers.filter((container) => container.message));
  return (
    <div class="columns">
      <WhyWaiting queued={queued} />
      <Card title={text("lastMessages")}>
        {said.length === 0 ? <p class="faint">{text("noMessages")}</p> : (
          <ul class="problems">
            {said.map((container) => (
              <li key={container.containerId} translate={false}><a href={instanceHref(container.containerId, pod.id)}>{container.name}</a> <Badge kind="plain">{container.status}</Badge> {container.message}</li>
            ))}
          </ul>
        )}
      </Card>
    </div>
  );
}
