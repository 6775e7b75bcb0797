// Search over everything, opened with `/`.

import { useMemo, useState } from "preact/hooks";
import { useText } from "../i18n";
import { cluster } from "../live";
import { appHref, groupHref, href } from "../router";
import { useStore } from "../store";
import { Dialog } from "./dialog";

interface Hit {
  kind: string;
  name: string;
  to: string;
}

const MOST = 30;

export function SearchDialog({ onClose }: { onClose: () => void }) {
  const text = useText();
  const { apps, deployments } = useStore(cluster);
  const [wanted, setWanted] = useState("");
  const [at, setAt] = useState(0);
  const everything = useMemo<Hit[]>(() => {
    const groups = new Set(apps.flatMap((app) => app.id.split("/").slice(1, -1).map((_, index, path) => `/${path.slice(0, index + 1).join("/")}`)));
    return [
      ...apps.map((app) => ({ kind: text("applications"), name: app.id, to: appHref(app.id) })),
      ...[...groups].map((id) => ({ kind: text("grouped"), name: `${id}/`, to: groupHref(id) })),
      ...deployments.map((item) => ({ kind: text("deployments"), name: item.id, to: href(["deployments"]) })),
    ];
  }, [apps, deployments]);
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = everything.filter((hit) => words.every((word) => hit.name.toLowerCase().includes(word))).slice(0, MOST);
  const open = (hit: Hit | undefined) => {
    if (!hit) return;
    location.hash = hit.to;
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
              <span>{hit.name}</span><span class="faint">{hit.kind}</span>
            </a>
          </li>
        ))}
      </ul>
      {words.length > 0 && hits.length === 0 && <p class="faint">{text("noMatch")}</p>}
    </Dialog>
  );
}
