// Small pieces that all pages use.

import type { ComponentChildren } from "preact";
import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import { HEALTH_KINDS, type Health, type Status } from "../model";

export function HealthBar({ health }: { health: Health }) {
  const text = useText();
  const total = HEALTH_KINDS.reduce((sum, kind) => sum + health[kind], 0);
  const parts = HEALTH_KINDS.filter((kind) => health[kind] > 0);
  const label = parts.map((kind) => `${health[kind]} ${text(kind)}`).join(", ") || "–";
  return (
    <svg class="healthbar" role="img" aria-label={label} viewBox="0 0 100 8" preserveAspectRatio="none">
      <title>{label}</title>
      <rect class="track" width="100" height="8" />
      {parts.map((kind, index) => {
        const before = parts.slice(0, index).reduce((sum, other) => sum + health[other], 0);
        return <rect key={kind} class={`health-${kind}`} x={(100 * before) / total} width={(100 * health[kind]) / total} height="8" />;
      })}
    </svg>
  );
}

export function StatusBadge({ status }: { status: Status }) {
  const text = useText();
  return <span class={`badge status-${status.toLowerCase()}`}>{text(status.toLowerCase() as Key)}</span>;
}

export function Badge({ kind, children }: { kind: string; children: ComponentChildren }) {
  return <span class={`badge ${kind}`}>{children}</span>;
}

/** `whole`: there is nothing else on the page, so this is its heading. */
export function Empty({ title, children, whole = false }: { title: string; children?: ComponentChildren; whole?: boolean }) {
  return (
    <div class="empty">
      {whole ? <h1 class="empty-title">{title}</h1> : <p class="empty-title">{title}</p>}
      {children && <p>{children}</p>}
    </div>
  );
}

export function Card({ title, children, actions }: { title?: string; children: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <section class="card">
      {(title || actions) && (
        <header class="card-head">
          {title && <h2>{title}</h2>}
          {actions}
        </header>
      )}
      {children}
    </section>
  );
}

export function When({ time }: { time?: string | null }) {
  if (!time) return <span class="faint">–</span>;
  const date = new Date(time);
  return <time dateTime={time} title={date.toLocaleString()}>{ago(date)}</time>;
}

export function ago(date: Date, now = Date.now()): string {
  const seconds = Math.round((date.getTime() - now) / 1000);
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang || "en", { numeric: "auto", style: "short" });
  const steps: [number, Intl.RelativeTimeFormatUnit][] = [[60, "second"], [3600, "minute"], [86400, "hour"], [Infinity, "day"]];
  const sizes = [1, 60, 3600, 86400];
  const index = steps.findIndex(([limit]) => Math.abs(seconds) < limit);
  return format.format(Math.round(seconds / sizes[index]!), steps[index]![1]);
}

/** `3 min`, in the reader's language. */
export function duration(seconds: number): string {
  const steps: [number, string][] = [[60, "second"], [3600, "minute"], [86400, "hour"], [Infinity, "day"]];
  const sizes = [1, 60, 3600, 86400];
  const index = steps.findIndex(([limit]) => seconds < limit);
  const format = new Intl.NumberFormat(document.documentElement.lang || "en", { style: "unit", unit: steps[index]![1], maximumFractionDigits: 1 });
  return format.format(seconds / sizes[index]!);
}

export function shortId(id: string): string {
  return id.length > 44 ? `${id.slice(0, 24)}…${id.slice(-16)}` : id;
}

export function memory(mebibytes: number): string {
  return mebibytes >= 1024 ? `${+(mebibytes / 1024).toFixed(1)} GiB` : `${+mebibytes.toFixed(1)} MiB`;
}

export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, count > 0 ? Math.floor(Math.log2(count) / 10) : 0);
  return `${+(count / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** How much of something is taken. */
export function Meter({ label, used, total, show }: { label: string; used: number; total: number; show: (amount: number) => string }) {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  const said = `${label}: ${show(used)} / ${show(total)}`;
  return (
    <span class="meter">
      <svg class="healthbar" role="img" aria-label={said} viewBox="0 0 100 8" preserveAspectRatio="none">
        <title>{said}</title>
        <rect class="track" width="100" height="8" />
        <rect class={share > 0.9 ? "meter-full" : "meter-used"} width={100 * share} height="8" />
      </svg>
      <span class="meter-text">{show(used)} <span class="faint">/ {show(total)}</span></span>
    </span>
  );
}

export function cpus(count: number): string {
  return String(+count.toFixed(2));
}
