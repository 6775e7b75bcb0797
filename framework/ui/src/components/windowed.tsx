// A long table of which only the rows in sight exist.

import type { ComponentChildren, VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const OVERSCAN = 12;

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
      const from = Math.max(0, Math.floor(-top / rowHeight) - OVERSCAN);
      const to = from + Math.ceil(window.innerHeight / rowHeight) + 2 * OVERSCAN;
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

  const from = Math.min(range.from, Math.max(0, rows.length - 1));
  const to = Math.min(rows.length, range.to);
  return (
    <div class="table-wrap" tabIndex={0}>
      <table class="table" aria-label={props.label} aria-rowcount={rows.length + 1}>
        <thead>{props.head}</thead>
        <tbody ref={body}>
          {from > 0 && <Space height={from * rowHeight} columns={columns} />}
          {rows.slice(from, to).map((item, index) => props.row(item, from + index))}
          {to < rows.length && <Space height={(rows.length - to) * rowHeight} columns={columns} />}
        </tbody>
      </table>
    </div>
  );
}

function Space({ height, columns }: { height: number; columns: number }) {
  const row = useRef<HTMLTableRowElement>(null);
  // Set by script, not by a style attribute: the page's Content-Security-Policy allows no inline style.
  useEffect(() => row.current?.style.setProperty("height", `${height}px`), [height]);
  return (
    <tr ref={row} aria-hidden="true">
      <td colSpan={columns} />
    </tr>
  );
}
