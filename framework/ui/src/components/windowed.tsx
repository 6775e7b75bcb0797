// A long table of which only the rows in sight exist.

import type { ComponentChildren, VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const OVERSCAN = 14;
const STEP = 8; // rows by which the window moves, so that most frames of a scroll change nothing

export function WindowedTable<T>(props: {
  rows: T[];
  rowHeight: number;
  head: ComponentChildren;
  columns: number;
  row: (item: T, index: number) => VNode;
  label: string;
}) {
  const { rows, rowHeight, columns } = props;
  const body = useRef<HTMLTableSectionElement>(null);
  const [range, setRange] = useState({ from: 0, to: 60 });

  useEffect(() => {
    let frame = 0;
    const measure = () => {
      frame = 0;
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const first = Math.floor(-top / rowHeight / STEP) * STEP;
      const from = Math.max(0, first - OVERSCAN);
      const to = first + STEP + Math.ceil(window.innerHeight / rowHeight) + OVERSCAN;
      setRange((old) => (old.from === from && old.to === to ? old : { from, to }));
    };
    const later = () => (frame ||= requestAnimationFrame(measure));
    measure();
    window.addEventListener("scroll", later, { passive: true });
    window.addEventListener("resize", later);
    return () => {
      cancelAnimationFrame(frame);
      window.removeEventListener("scroll", later);
      window.removeEventListener("resize", later);
    };
  }, [rowHeight, rows.length]);

  // A row that stays in the window is not made again while it scrolls: the same node is left as it is.
  const made = useRef<{ props: object; rows: Map<number, VNode> }>({ props, rows: new Map() });
  const before = made.current.props === props ? made.current.rows : new Map<number, VNode>();
  made.current = { props, rows: new Map() };
  const row = (index: number) => {
    const node = before.get(index) ?? props.row(rows[index]!, index);
    made.current.rows.set(index, node);
    return node;
  };

  const from = Math.min(range.from, Math.max(0, rows.length - 1));
  const to = Math.max(from, Math.min(rows.length, range.to));
  return (
    <div class="table-wrap" tabIndex={0}>
      <table class="table" aria-label={props.label} aria-rowcount={rows.length + 1}>
        <thead>{props.head}</thead>
        <tbody ref={body}>
          {from > 0 && <Space key="above" height={from * rowHeight} columns={columns} />}
          {Array.from({ length: to - from }, (_, index) => row(from + index))}
          {to < rows.length && <Space key="below" height={(rows.length - to) * rowHeight} columns={columns} />}
        </tbody>
      </table>
    </div>
  );
}

function Space({ height, columns }: { height: number; columns: number }) {
  const row = useRef<HTMLTableRowElement>(null);
  // Set by script, not by a style attribute: the page's Content-Security-Policy allows no inline style.
  // Before anything is painted, or the page would jump.
  useLayoutEffect(() => row.current?.style.setProperty("height", `${height}px`), [height]);
  return (
    <tr ref={row} aria-hidden="true">
      <td colSpan={columns} />
    </tr>
  );
}
