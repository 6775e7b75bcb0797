// Dialogs: the browser's own <dialog>, which keeps the focus inside and closes on Escape.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api";
import { useText } from "../i18n";
import { href } from "../router";
import { ErrorText } from "./errors";

export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const text = useText();
  // At once, so that what is typed next goes into it.
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class={props.wide ? "dialog wide" : "dialog"} aria-label={props.title} onClose={props.onClose}>
      <header class="dialog-head">
        <h2>{props.title}</h2>
        <button type="button" class="icon" aria-label={text("close")} onClick={() => dialog.current?.close()}>
          ×
        </button>
      </header>
      {props.children}
    </dialog>
  );
}

/** Runs an action of the API; where a deployment is in the way it asks whether to force it. */
export function ActionDialog(props: {
  title: string;
  question: string;
  confirm: string;
  danger?: boolean;
  typed?: string; // must be typed to confirm
  forceable?: string; // what is asked where the server refuses for now, other than for a deployment
  children?: ComponentChildren;
  act: (force: boolean) => Promise<unknown>;
  onClose: () => void;
}) {
  const text = useText();
  const [typed, setTyped] = useState("");
  const { busy, error, run } = useAction(props.act, props.onClose);
  const again = locked(error) || (props.forceable !== undefined && error?.status === 409);
  const allowed = !props.typed || typed === props.typed;
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (allowed) void run(again);
        }}
      >
        <p>{again ? (props.forceable ?? text("forceQuestion")) : props.question}</p>
        {props.children}
        {props.typed && (
          <input autoFocus aria-label={props.question} value={typed} placeholder={props.typed} onInput={(e) => setTyped(e.currentTarget.value)} />
        )}
        {error && (locked(error) ? <Locks ids={error.lockedBy} /> : <ErrorText error={error} />)}
        <footer class="dialog-foot">
          <button type="button" onClick={props.onClose}>{text("cancel")}</button>
          <button type="submit" class={props.danger ? "danger" : "primary"} disabled={busy || !allowed}>
            {again ? text("force") : props.confirm}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** The deployments in the way. */
function Locks({ ids }: { ids: string[] }) {
  const text = useText();
  return <p class="faint small">{text("lockedBy")} {ids.map((id) => <span key={id}><a href={href(["deployments"])}><code>{id}</code></a> </span>)}</p>;
}

/** Whether a deployment is in the way, which can be forced. */
export function locked(error: ApiError | null): boolean {
  return error?.status === 409 && error.lockedBy.length > 0;
}

export function useAction(act: (force: boolean) => Promise<unknown>, done: () => void) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const run = async (force: boolean) => {
    setBusy(true);
    try {
      await act(force);
      done();
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, String(failure)));
      setBusy(false);
    }
  };
  return { busy, error, run };
}
