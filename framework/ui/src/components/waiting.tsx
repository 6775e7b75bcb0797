// Why instances of an app or a pod wait, in plain words.

import { named, type Translate, useText } from "../i18n";
import type { Key } from "../i18n/en";
import type { QueueItem } from "../types";
import { Card } from "./basics";

/** What it waits for besides offers, then why offers were refused, the most frequent first. */
export function reasonsOf(item: QueueItem, text: Translate): string[] {
  const refused = [...item.processedOffersSummary.rejectSummaryLastOffers]
    .filter((entry) => entry.declined > 0)
    .sort((a, b) => b.declined - a.declined)
    .map((entry) => `${named(text, "reason", entry.reason)} (${entry.declined}×)`);
  return item.waitsFor ? [waitsFor(item.waitsFor, text), ...refused] : refused;
}

/** What the framework says that it waits for besides room, as a text of ours; words that are not known stay as they are. */
const WAITS: [RegExp, Key][] = [
  [/^an offer of (.+), where its volumes are$/, "waitsVolumes"],
  [/^persistent volumes need a role\b/, "waitsRole"],
  [/^(secret '.*)$/s, "waitsSecret"],
];

function waitsFor(said: string, text: Translate): string {
  for (const [form, key] of WAITS) {
    const found = form.exec(said);
    if (found) return text(key, { what: found[1] ?? "" });
  }
  return said;
}

export function WhyWaiting({ queued }: { queued?: QueueItem }) {
  const text = useText();
  if (!queued || queued.count === 0) return <Card title={text("whyWaiting")}><p class="faint">{text("notWaiting")}</p></Card>;
  const reasons = reasonsOf(queued, text);
  const delay = queued.delay.timeLeftSeconds;
  const { processedOffersCount: count, unusedOffersCount: unused } = queued.processedOffersSummary;
  return (
    <Card title={text("whyWaiting")}>
      {delay > 0 && <p>{text("nextTry", { seconds: delay })}</p>}
      <ul class="problems">{reasons.map((reason) => <li key={reason}>{reason}</li>)}</ul>
      {reasons.length === 0 && delay === 0 && <p>{text("noOffers")}</p>}
      {count > 0 && <p class="faint">{text("offersSeen", { count, unused })}</p>}
    </Card>
  );
}
