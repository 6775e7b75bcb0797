// Bars of links of which one is current: the parts of a page, or of the whole.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export interface Tab {
  label: string;
  to: string;
  current: boolean;
}

export function Tabs({ label, tabs }: { label: string; tabs: Tab[] }) {
  const bar = useRef<HTMLElement>(null);
  useCurrentInSight(bar, tabs.findIndex((tab) => tab.current));
  return (
    <nav class="tabs" aria-label={label} ref={bar}>
      {tabs.map((tab) => <a key={tab.to} href={tab.to} aria-current={tab.current ? "page" : undefined}>{tab.label}</a>)}
    </nav>
  );
}

/** On a narrow screen a bar scrolls: where we are is to be seen. */
export function useCurrentInSight(bar: RefObject<HTMLElement | null>, current: unknown): void {
  useLayoutEffect(() => {
    const link = bar.current?.querySelector('[aria-current="page"]');
    if (!bar.current || !link) return;
    const { left, right } = link.getBoundingClientRect();
    const edge = bar.current.getBoundingClientRect();
    if (left < edge.left) bar.current.scrollLeft -= edge.left - left;
    if (right > edge.right) bar.current.scrollLeft += right - edge.right;
  }, [current]);
}
