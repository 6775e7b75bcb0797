// Why an application has as many instances as it has: demand and supply over time, within its bounds, and the autoscaler's journal.

import { useMemo } from "preact/hooks";
import { api } from "../api";
import { Badge, Card, Empty, When } from "../components/basics";
import { Chart } from "../components/chart";
import { ErrorText } from "../components/errors";
import { named, type Translate, useText } from "../i18n";
import { usePolled } from "../polled";
import type { App, JournalEntry } from "../types";

export function Autoscaling({ app }: { app: App }) {
  const text = useText();
  const { value, error } = usePolled(`journal ${app.id}`, () => api.journal(app.id), 3_000);
  const journal = value?.journal ?? [];
  const labels = app.labels ?? {};
  const target = Number(labels.DROMOS_AUTOSCALE_TARGET);
  const bounds = [Number(labels.DROMOS_AUTOSCALE_MIN || 1), Number(labels.DROMOS_AUTOSCALE_MAX || NaN)] as const;
  const series = useMemo(() => seriesOf(journal, target, bounds, text), [journal, target, ...bounds, text("demand")]);
  if (!Object.keys(labels).some((label) => label.startsWith("DROMOS_AUTOSCALE_"))) {
    return <Empty title={text("notAutoscaled")}>{text("notAutoscaledExplained")}</Empty>;
  }
  if (error && !value) return <ErrorText error={error} />;
  if (!value) return <Empty title={text("connecting")} />;
  if (journal.length === 0) return <Empty title={text("noJournal")} />;
  return (
    <>
      <Card><Chart times={journal.map((entry) => entry.at)} label={text("instances")} series={series} height={240} format={(count) => String(+count.toFixed(1))} /></Card>
      <div class="table-wrap" tabIndex={0}>
        <table class="table" aria-label={text("journal")}>
          <thead><tr><th scope="col">{text("updated")}</th><th scope="col">{text("outcome")}</th><th scope="col" class="number">{text("instances")}</th><th scope="col" class="number">{text("requestRate")}</th><th scope="col">{text("reason")}</th></tr></thead>
          <tbody>
            {journal.slice(-100).reverse().map((entry, index) => (
              <tr key={`${entry.at}-${index}`}>
                <td><When time={new Date(entry.at * 1000).toISOString()} /></td>
                <td><Badge kind={entry.outcome === "scaled" ? "status-deploying" : entry.outcome === "refused" ? "bad" : "plain"}>{named(text, "outcome", entry.outcome)}</Badge></td>
                <td class="number">{entry.instances}{entry.decided !== entry.instances && ` → ${entry.decided}`}</td>
                <td class="number">{typeof entry.rate === "number" ? entry.rate.toFixed(1) : "–"}</td>
                <td class="wrap" translate={false}>{entry.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function seriesOf(journal: JournalEntry[], target: number, [least, most]: readonly [number, number], text: Translate) {
  const constant = (value: number) => journal.map(() => value);
  return [
    ...(target > 0 ? [{ label: text("demand"), colour: "staged", values: journal.map((entry) => (typeof entry.rate === "number" ? entry.rate / target : null)) }] : []),
    { label: text("supply"), colour: "healthy", stepped: true, values: journal.map((entry) => entry.instances) },
    { label: text("least"), colour: "unknown", dashed: true, values: constant(least) },
    ...(most > 0 ? [{ label: text("most"), colour: "unhealthy", dashed: true, values: constant(most) }] : []),
  ];
}
