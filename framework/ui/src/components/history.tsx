// The configuration of an app or a pod: its versions, what differs between one and the current, and the way back to it.

import { useEffect, useState } from "preact/hooks";
import { useText } from "../i18n";
import { refresh } from "../live";
import { diff } from "../model";
import { Badge, Card, When } from "./basics";
import { ActionDialog } from "./dialog";
import { Changes } from "./edit";
import { ActionButton } from "./permitted";

type Definition = Record<string, unknown>;

export function History({ id, current, definition, list, at, rollBack, onEdit }: {
  id: string;
  current: string; // the version that is current
  definition: Definition;
  list: () => Promise<string[]>;
  at: (version: string) => Promise<Definition>;
  rollBack: (version: string, old: Definition, force: boolean) => Promise<unknown>;
  onEdit: (old: Definition) => void;
}) {
  const text = useText();
  const [versions, setVersions] = useState<string[]>([]);
  const [picked, setPicked] = useState<string | null>(null); // null: the current one, whichever that is
  const chosen = picked ?? current;
  const [other, setOther] = useState<Definition | null>(null);
  const [asked, setAsked] = useState(false);
  useEffect(() => void list().then((found) => setVersions([...found].sort().reverse()), () => setVersions([])), [id, current]);
  useEffect(() => {
    let wanted = true;
    setOther(null);
    if (chosen !== current) void at(chosen).then((found) => wanted && setOther(found), () => undefined);
    return () => {
      wanted = false;
    };
  }, [id, current, chosen]);
  return (
    <div class="configuration">
      <Card title={text("version")}>
        <ol class="versions">
          {versions.map((version) => (
            <li key={version}>
              <button type="button" aria-pressed={version === chosen} onClick={() => setPicked(version === current ? null : version)}>
                <When time={version} />
                <code>{version}</code>
                {version === current && <Badge kind="good">{text("current")}</Badge>}
              </button>
            </li>
          ))}
        </ol>
      </Card>
      <div>
        {other && (
          <Card title={text("compare")} actions={
            <div class="actions">
              <ActionButton verb="update" path={id} onClick={() => onEdit(other)}>{text("editVersion")}</ActionButton>
              <ActionButton verb="update" path={id} kind="primary" onClick={() => setAsked(true)}>{text("rollBackTo")}</ActionButton>
            </div>
          }>
            <Changes changes={diff(definition, other)} />
          </Card>
        )}
        <Card title={text("json")}><pre class="json" tabIndex={0}>{JSON.stringify(other ?? definition, null, 2)}</pre></Card>
      </div>
      {asked && other && (
        <ActionDialog title={text("rollBack")} question={text("rollBackQuestion", { id, version: chosen })} confirm={text("rollBack")} onClose={() => (setAsked(false), refresh(0))}
          act={async (force) => (await rollBack(chosen, other, force), setPicked(null))} />
      )}
    </div>
  );
}
