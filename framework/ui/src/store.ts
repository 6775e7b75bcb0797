// A value that components can watch: the smallest thing that does it.

import { useEffect, useRef, useState } from "preact/hooks";

export class Store<T> {
  private watchers = new Set<(value: T) => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(next: T): void {
    if (Object.is(next, this.current)) return;
    this.current = next;
    for (const watcher of [...this.watchers]) watcher(next);
  }

  watch(watcher: (value: T) => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }
}

/** The store's value, or what `select` takes of it; the component is drawn again only when that changes. */
export function useStore<T>(store: Store<T>): T;
export function useStore<T, S>(store: Store<T>, select: (value: T) => S): S;
export function useStore<T, S>(store: Store<T>, select: (value: T) => S | T = (value) => value): S | T {
  const [, redraw] = useState(0);
  const selected = select(store.value);
  const drawn = useRef({ select, selected });
  drawn.current = { select, selected };
  useEffect(() => {
    const look = () => {
      if (!Object.is(drawn.current.select(store.value), drawn.current.selected)) redraw((count) => count + 1);
    };
    look();
    return store.watch(look);
  }, [store]);
  return selected;
}
