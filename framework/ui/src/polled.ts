// What only one page needs: asked for while it is shown, as often as it says, and when the cluster's picture changes where it should.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api";

export interface Polled<T> {
  value: T | null;
  error: ApiError | null;
  again: () => void;
}

/** `key` names what is asked for: another key forgets the value. A failure keeps the last value, and tells. */
export function usePolled<T>(key: string, ask: () => Promise<T>, ms: number, ...hints: unknown[]): Polled<T> {
  const [state, setState] = useState<{ key: string; value: T | null; error: ApiError | null }>({ key, value: null, error: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    let wanted = true;
    let timer: number | undefined;
    const look = async () => {
      try {
        const value = await latest.current();
        if (wanted) setState({ key, value, error: null });
      } catch (failure) {
        const error = failure instanceof ApiError ? failure : new ApiError(0, String(failure));
        if (wanted) setState((old) => ({ key, value: old.key === key && error.status !== 404 ? old.value : null, error }));
      }
      if (wanted) timer = window.setTimeout(() => void look(), document.visibilityState === "visible" ? ms : 10 * ms);
    };
    void look();
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [key, ms, turn, ...hints]);
  const own = state.key === key ? state : { value: null, error: null };
  return { value: own.value, error: own.error, again: () => setTurn((count) => count + 1) };
}

/** `value`, that changes at most every `ms`, and comes to rest at the last one. */
export function useSettled<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  const changedAt = useRef(0);
  useEffect(() => {
    const wait = Math.max(0, changedAt.current + ms - Date.now());
    const timer = window.setTimeout(() => {
      changedAt.current = Date.now();
      setSettled(value);
    }, wait);
    return () => window.clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
