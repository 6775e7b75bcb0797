// A chart over time, on uPlot, with the same numbers as a table for those who do not see it.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { useStore } from "../store";
import { theme } from "../theme";

export interface Series {
  label: string;
  colour: string; // the name of a colour of the style sheet
  values: (number | null)[];
  stepped?: boolean;
  dashed?: boolean;
}

const LEAST_SPAN = 60; // seconds

function span(times: ArrayLike<number>): [number, number] {
  const last = times[times.length - 1] ?? 0;
  return [Math.min(times[0] ?? 0, last - LEAST_SPAN), last];
}

export function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

/** `times` are epoch seconds; every series has as many values. */
export function Chart({ times, series, label, format = String, height = 180, top = 1 }: {
  times: number[];
  series: Series[];
  label: string;
  format?: (value: number) => string;
  height?: number;
  top?: number; // the least that the highest mark stands for
}) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shown = useStore(theme);
  const data = [times, ...series.map((one) => one.values)] as uPlot.AlignedData;
  const shape = `${shown} ${document.documentElement.lang} ${series.map((one) => one.label + one.colour).join("|")}`;

  useEffect(() => {
    const node = place.current!;
    const colours = getComputedStyle(document.documentElement);
    const colour = (name: string) => colours.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("faint"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const steps = uPlot.paths.stepped!({ align: 1 });
    const options: uPlot.Options = {
      width: Math.max(200, node.clientWidth),
      height,
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { range: (shownPlot) => span(shownPlot.data[0]) }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.15, top)] } },
      axes: [{ ...axis, space: 90, size: 30, values: (_plot, marks) => marks.map((mark) => (Number.isInteger(mark) ? clock(mark) : "")) }, { ...axis, size: 56, values: (_plot, marks) => marks.map((mark) => format(mark)) }],
      series: [
        {},
        ...series.map((one) => ({
          label: one.label,
          stroke: colour(one.colour),
          width: 2,
          points: { show: false },
          ...(one.dashed ? { dash: [6, 5], width: 1.5 } : {}),
          ...(one.stepped ? { paths: steps } : {}),
        })),
      ],
    };
    plot.current = new uPlot(options, data, node);
    const watcher = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(200, node.clientWidth), height }));
    watcher.observe(node);
    return () => {
      watcher.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [times, series]);

  const last = (one: Series) => one.values.findLast((value) => value !== null && value !== undefined);
  return (
    <figure class="chart">
      <figcaption>
        <strong>{label}</strong>
        {series.map((one) => {
          const value = last(one);
          return <span key={one.label}><i class={`swatch ${one.colour}`} aria-hidden="true" />{one.label} <b>{value === undefined || value === null ? "–" : format(value)}</b></span>;
        })}
      </figcaption>
      <div ref={place} class="plot" aria-hidden="true" />
    </figure>
  );
}
