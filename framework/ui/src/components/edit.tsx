// Create or edit an app: a form and its JSON side by side, two views of one value; what the server refuses is shown at its field.

import { useMemo, useState } from "preact/hooks";
import { api, type Problem } from "../api";
import { type Translate, useText } from "../i18n";
import type { Key } from "../i18n/en";
import { refresh } from "../live";
import { definitionOf, diff } from "../model";
import { go } from "../router";
import type { App, JsonObject } from "../types";
import { Dialog, locked, useAction } from "./dialog";
import { Errors, ErrorText } from "./errors";

type Draft = Record<string, unknown>;

const NEW_APP: Draft = { id: "/", cmd: "", cpus: 0.1, mem: 64, instances: 1 };

/** `begin`: what to begin with, where that is not the app as it is. */
export function EditDialog({ app, group = "/", draft: begin, onClose }: { app?: App; group?: string; draft?: Draft; onClose: () => void }) {
  const text = useText();
  const before = useMemo<Draft>(() => (app ? definitionOf(app) : { ...NEW_APP, id: group === "/" ? "/" : `${group}/` }), []);
  const [draft, setDraft] = useState<Draft>(begin ?? before);
  const [source, setSource] = useState(() => JSON.stringify(begin ?? before, null, 2));
  const [broken, setBroken] = useState("");

  const { busy, error, run } = useAction(async (force) => {
    const id = String(draft.id);
    await (app ? api.update(app.id, draft as JsonObject, force) : api.create(draft as JsonObject, force));
    refresh(0);
    go(["app", ...id.split("/").filter(Boolean)]);
  }, onClose);

  const change = (key: string, value: unknown) => {
    const next = { ...draft };
    if (value === undefined) delete next[key];
    else next[key] = value;
    setDraft(next);
    setSource(JSON.stringify(next, null, 2));
    setBroken("");
  };
  const write = (json: string) => {
    setSource(json);
    const { value, broken } = parsed(json, text);
    if (value) setDraft(value);
    setBroken(broken);
  };
  const changes = app ? diff(before, draft) : [];
  const problems = error?.problems ?? [];
  const elsewhere = problems.filter((problem) => !FIELDS.some((field) => at(problem, field.key)));

  return (
    <Dialog wide title={app ? `${text("edit")} ${app.id}` : text("create")} onClose={onClose}>
      <form noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (!broken) void run(locked(error));
        }}
      >
        <div class="edit">
          <fieldset class="edit-form">
            <legend>{text("form")}</legend>
            {FIELDS.map((field) => (
              <Field key={field.key} field={field} value={read(draft, field.key)} fixed={Boolean(app) && field.key === "id"} first={!app && field.key === "id"}
                problems={problems.filter((problem) => at(problem, field.key))}
                onChange={(value) => (field.key === "image" ? change("container", withImage(draft, value as string)) : change(field.key, value))} />
            ))}
          </fieldset>
          <fieldset class="edit-json">
            <legend>{text("json")}</legend>
            <textarea aria-label={text("json")} spellcheck={false} value={source} aria-invalid={broken ? "true" : "false"}
              onInput={(event) => write(event.currentTarget.value)} />
            {broken && <p class="error" role="alert">{broken}</p>}
          </fieldset>
        </div>
        {app && (
          <details class="diff" open={changes.length > 0}>
            <summary>{text("compare")} ({changes.length})</summary>
            <Changes changes={changes} />
          </details>
        )}
        {error && <ErrorText error={error} problems={elsewhere} />}
        <footer class="dialog-foot">
          <button type="button" onClick={onClose}>{text("cancel")}</button>
          <button type="submit" class="primary" disabled={busy || Boolean(broken)}>
            {locked(error) ? text("force") : app ? text("save") : text("create")}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** What was written as a JSON object, or why it is none. */
export function parsed(source: string, text: Translate): { value: Draft | null; broken: string } {
  try {
    const value: unknown = JSON.parse(source);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { value: value as Draft, broken: "" };
    return { value: null, broken: text("notAnObject") };
  } catch (failure) {
    return { value: null, broken: text("invalidJson", { why: failure instanceof Error ? failure.message : String(failure) }) };
  }
}

export function Changes({ changes }: { changes: ReturnType<typeof diff> }) {
  const text = useText();
  if (changes.length === 0) return <p class="faint">{text("noChanges")}</p>;
  return (
    <table class="changes">
      <tbody>
        {changes.map((change) => (
          <tr key={change.path}>
            <th scope="row"><code>{change.path}</code></th>
            <td>{change.before !== undefined && <del>{JSON.stringify(change.before)}</del>}</td>
            <td>{change.after !== undefined && <ins>{JSON.stringify(change.after)}</ins>}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface FieldSpec {
  key: string;
  label: Key;
  kind: "text" | "number" | "long" | "pairs";
  step?: string;
}

const FIELDS: FieldSpec[] = [
  { key: "id", label: "name", kind: "text" },
  { key: "cmd", label: "command", kind: "long" },
  { key: "image", label: "image", kind: "text" },
  { key: "instances", label: "instances", kind: "number", step: "1" },
  { key: "cpus", label: "cpus", kind: "number", step: "any" },
  { key: "mem", label: "memory", kind: "number", step: "any" },
  { key: "env", label: "environment", kind: "pairs" },
  { key: "labels", label: "labels", kind: "pairs" },
];

function at(problem: Problem, key: string): boolean {
  const path = key === "image" ? "/container/docker/image" : `/${key}`;
  return problem.path === path || problem.path.startsWith(`${path}/`) || problem.path.startsWith(`${path}(`);
}

function read(draft: Draft, key: string): unknown {
  if (key !== "image") return draft[key];
  const container = draft.container as { docker?: { image?: string } } | null | undefined;
  return container?.docker?.image;
}

function withImage(draft: Draft, image: string): unknown {
  const container = (draft.container ?? {}) as Draft;
  if (!image) return undefined;
  return { type: "DOCKER", ...container, docker: { ...(container.docker as Draft | undefined), image } };
}

function Field(props: { field: FieldSpec; value: unknown; fixed: boolean; first: boolean; problems: Problem[]; onChange: (value: unknown) => void }) {
  const { field, value, problems } = props;
  const text = useText();
  const invalid = problems.length > 0;
  const common = { id: `field-${field.key}`, disabled: props.fixed, "aria-invalid": invalid ? ("true" as const) : ("false" as const) };
  return (
    <label class="field">
      <span>{text(field.label)}</span>
      {field.kind === "text" && <input {...common} autoFocus={props.first} value={String(value ?? "")} onInput={(e) => props.onChange(e.currentTarget.value)} />}
      {field.kind === "number" && (
        <input {...common} type="number" min={0} step={field.step} value={Number(value ?? 0)}
          onInput={(e) => props.onChange(e.currentTarget.value === "" ? undefined : Number(e.currentTarget.value))} />
      )}
      {field.kind === "long" && (
        <textarea {...common} rows={3} spellcheck={false} value={String(value ?? "")} onInput={(e) => props.onChange(e.currentTarget.value || undefined)} />
      )}
      {field.kind === "pairs" && <Pairs {...common} value={value as Record<string, unknown> | undefined} onChange={props.onChange} />}
      {problems.map((problem) => <span class="field-error" role="alert" key={problem.path}><Errors of={problem} /></span>)}
    </label>
  );
}

/** `KEY=value` lines; values that are not text (secrets) are kept as they are. */
function Pairs(props: { id: string; disabled: boolean; value?: Record<string, unknown>; onChange: (value: unknown) => void }) {
  const kept = Object.entries(props.value ?? {}).filter(([, value]) => typeof value !== "string");
  const lines = Object.entries(props.value ?? {}).filter(([, value]) => typeof value === "string").map(([key, value]) => `${key}=${value}`);
  const [source, setSource] = useState(lines.join("\n"));
  const parse = (written: string) => {
    setSource(written);
    const pairs = written.split("\n").filter((line) => line.trim()).map((line) => {
      const cut = line.indexOf("=");
      return cut < 0 ? [line.trim(), ""] : [line.slice(0, cut).trim(), line.slice(cut + 1)];
    });
    props.onChange({ ...Object.fromEntries(kept), ...Object.fromEntries(pairs) });
  };
  return (
    <textarea id={props.id} disabled={props.disabled} rows={Math.max(2, lines.length)} spellcheck={false} placeholder="KEY=value"
      value={source} onInput={(event) => parse(event.currentTarget.value)} />
  );
}
