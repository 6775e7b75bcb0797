// Rates from counters that only grow, or begin anew at zero. Pure.

import type { Traffic } from "./types";

export interface Sample extends Traffic {
  at: number; // seconds
}

export interface Rates {
  at: number;
  rate: number; // requests a second
  errors: number; // share of 5xx
  p50: number | null; // seconds
  p99: number | null;
}

/** One less than there are samples; a counter that fell makes a gap. */
export function ratesOf(samples: Sample[]): Rates[] {
  return samples.slice(1).flatMap((after, index) => {
    const before = samples[index]!;
    const seconds = after.at - before.at;
    const total = sum(after.requests) - sum(before.requests);
    if (seconds <= 0 || total < 0) return [];
    const errors = (after.requests["5xx"] ?? 0) - (before.requests["5xx"] ?? 0);
    return [{ at: after.at, rate: total / seconds, errors: total > 0 ? errors / total : 0, p50: quantile(before, after, 0.5), p99: quantile(before, after, 0.99) }];
  });
}

function sum(requests: Record<string, number>): number {
  return Object.values(requests).reduce((total, count) => total + count, 0);
}

/** As Prometheus' histogram_quantile: linear within the bucket; null where nothing was measured between the two. */
function quantile(before: Sample, after: Sample, share: number): number | null {
  const buckets = Object.entries(after.buckets)
    .map(([bound, count]) => ({ bound: bound === "+Inf" ? Infinity : Number(bound), count: count - (before.buckets[bound] ?? 0) }))
    .sort((a, b) => a.bound - b.bound);
  const total = buckets.at(-1)?.count ?? 0;
  if (total <= 0) return null;
  const wanted = share * total;
  const index = buckets.findIndex((bucket) => bucket.count >= wanted);
  const found = buckets[index]!;
  const low = buckets[index - 1] ?? { bound: 0, count: 0 };
  if (found.bound === Infinity) return low.bound;
  return low.bound + ((found.bound - low.bound) * (wanted - low.count)) / Math.max(1, found.count - low.count);
}
