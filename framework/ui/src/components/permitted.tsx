// A button for what not everybody may do: greyed, with the reason, for those who may not.

import type { ComponentChildren } from "preact";
import { useText } from "../i18n";
import { allowed, me, type Verb } from "../session";
import { useStore } from "../store";

export function ActionButton({ verb, path, children, kind = "", id, disabled = false, onClick }: {
  verb: Verb;
  path: string;
  children: ComponentChildren;
  kind?: string;
  id?: string;
  disabled?: boolean;
  onClick: () => void;
}) {
  const text = useText();
  const may = useMay();
  const permitted = may(verb, path);
  return (
    <button type="button" class={kind} id={id} disabled={disabled || !permitted} title={permitted ? undefined : text("notPermitted")} onClick={onClick}>
      {children}
    </button>
  );
}

export function useMay(): (verb: Verb, path: string) => boolean {
  const who = useStore(me);
  return (verb, path) => allowed(who, verb, path);
}
