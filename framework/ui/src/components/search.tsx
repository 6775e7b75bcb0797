// Search over everything, opened with `/`.

import { useMemo, useState } from "preact/hooks";
import { api } from "../api";
import { useText } from "../i18n";
import { cluster } from "../live";
import { instanceHref } from "../pages/instance";
import { usePolled } from "../polled";
import { appHref, goTo, groupHref, href, podHref } from "../router";
import { useStore } from "../store";
import { Dialog } from "./dialog";

interface Hit {
  kind: string;
  name: string;
  to: string;
}

const MOST = 30;
const LEAST_FOR_INSTANCES = 3;

export function SearchDialog({ onClose }: { onClose: () => void }) {
  const text = useText();
  const { apps, pods, deployments } = useStore(cluster);
  const [wanted, setWanted] = useState("");
  const [at, setAt] = useState(0);
  const agents = usePolled("agents", api.agents, 60_000).value?.agents;
  const services = usePolled("services", api.services, 60_000).value?.services;
  // The list of all instances can be long; it is asked for when a search has begun.
  const begun = wanted.trim().length >= LEAST_FOR_INSTANCES;
  const tasks = usePolled(`tasks ${begun}`, async () => (begun ? (await api.allTasks()).tasks : []), 60_000).value;
  const everything = useMemo<Hit[]>(() => {
    const groups = new Set(apps.flatMap((app) => app.id.split("/").slice(1, -1).map((_, index, path) => `/${path.slice(0, index + 1).join("/")}`)));
    return [
      ...apps.map((app) => ({ kind: text("application"), name: app.id, to: appHref(app.id) })),
      ...pods.map((pod) => ({ kind: text("pod"), name: pod.id, to: podHref(pod.id) })),
      ...[...groups].map((id) => ({ kind: text("group"), name: `${id}/`, to: groupHref(id) })),
      ...deployments.map((item) => ({ kind: text("deployment"), name: item.id, to: href(["deployments"]) })),
      ...(agents ?? []).map((agent) => ({ kind: text("agent"), name: `${agent.hostname} ${agent.id}`, to: href(["agents", agent.id]) })),
      ...(services ?? []).map((service) => ({ kind: text("service"), name: service.name, to: href(["services", service.name]) })),
      ...(tasks ?? []).map((task) => ({ kind: text("task"), name: task.id, to: instanceHref(task.id, task.appId) })),
      ...(begun ? pods : []).flatMap((pod) => pod.instances.flatMap((instance) => instance.containers.map(({ containerId }) => ({ kind: text("task"), name: containerId, to: instanceHref(containerId, pod.id) })))),
    ];
  }, [begun, apps, pods, deployments, agents, services, tasks]);
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = everything.filter((hit) => words.every((word) => hit.name.toLowerCase().includes(word))).slice(0, MOST);
  const open = (hit: Hit | undefined) => {
    if (!hit) return;
    goTo(hit.to);
    onClose();
  };
  return (
    <Dialog title={text("search")} onClose={onClose}>
      <input type="search" autoFocus aria-label={text("searchHint")} placeholder={text("searchHint")} value={wanted}
        onInput={(event) => (setWanted(event.currentTarget.value), setAt(0))}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(at + 1, hits.length - 1));
          else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
          else if (event.key === "Enter") open(hits[at]);
          else if (event.key === "Escape") onClose(); // which by itself would only clear the box
          else return;
          event.preventDefault();
        }} />
      <ul class="hits">
        {hits.map((hit, index) => (
          <li key={hit.kind + hit.name}>
            <a href={hit.to} aria-current={index === at ? "true" : undefined} onClick={onClose}>
              <span translate={false}>{hit.name}</span><span class="faint hit-kind">{hit.kind}</span>
            </a>
          </li>
        ))}
      </ul>
      {words.length > 0 && hits.length === 0 && <p class="faint">{text("noMatch")}</p>}
    </Dialog>
  );
}
