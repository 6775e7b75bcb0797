// The services as Consul and the edge see them, with the edge's traffic.

import { useEffect, useMemo, useState } from "preact/hooks";
import { api, type ApiError } from "../api";
import { Badge, Card, Empty } from "../components/basics";
import { Chart, clock } from "../components/chart";
import { ErrorText, Said } from "../components/errors";
import { WindowedTable } from "../components/windowed";
import { named, useText } from "../i18n";
import { usePolled } from "../polled";
import { appHref, href, place, useFilter } from "../router";
import { useStore } from "../store";
import { type Rates, ratesOf, type Sample } from "../traffic";
import type { Service, Services } from "../types";

const LOOK_MS = 2_000;
const MOST_SAMPLES = 300; // ten minutes

// Kept between visits, so that a chart does not begin anew each time that its page is opened.
const history = new Map<string, Sample[]>();

export function ServicesPage() {
  const { path } = useStore(place);
  const polled = usePolled("services", api.services, LOOK_MS);
  const [, setSeen] = useState(0);
  useEffect(() => {
    if (polled.value) setSeen(remember(polled.value));
  }, [polled.value]);
  return path[1] ? <OneService name={path[1]} all={polled.value} /> : <AllServices all={polled.value} error={polled.error} />;
}

function remember(all: Services): number {
  for (const service of all.services) {
    if (!service.traffic) continue;
    const samples = history.get(service.name) ?? [];
    if (samples.at(-1)?.at !== all.at) history.set(service.name, [...samples, { at: all.at, ...service.traffic }].slice(-MOST_SAMPLES));
  }
  return all.at;
}

function latest(name: string): Rates | null {
  return ratesOf((history.get(name) ?? []).slice(-6)).at(-1) ?? null;
}

const perSecond = (value: number) => (value >= 10 ? value.toFixed(0) : value.toFixed(1));
const millis = (seconds: number) => (seconds >= 1 ? `${seconds.toFixed(1)} s` : `${(seconds * 1000).toFixed(0)} ms`);
const percent = (share: number) => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

function AllServices({ all, error }: { all: Services | null; error: ApiError | null }) {
  const text = useText();
  const [wanted, setWanted] = useFilter();
  const shown = (all?.services ?? []).filter((service) => `${service.name} ${service.app ?? ""} ${service.tags.join(" ")}`.toLowerCase().includes(wanted.toLowerCase()));
  const problems = Object.entries(all?.problems ?? {});
  const troubled = error !== null || problems.length > 0; // nothing can be said of what there is
  return (
    <main class="page">
      <header class="page-head"><h1>{text("services")}</h1></header>
      <div class="filters">
        <input type="search" aria-label={text("filterServices")} placeholder={text("filterServices")} value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
      </div>
      {error && <ErrorText error={error} />}
      {problems.map(([name, why]) => <p class="error" role="alert" key={name}>{text("problemNeighbour", { name })} <Said>{why}</Said></p>)}
      {shown.length > 0 ? (
        <WindowedTable rows={shown} rowHeight={44} columns={7} label={text("services")}
          head={
            <tr>
              <th scope="col">{text("service")}</th><th scope="col">{text("seenBy")}</th><th scope="col">{text("route")}</th>
              <th scope="col" class="number">{text("endpoints")}</th><th scope="col" class="number">{text("requestRate")}</th>
              <th scope="col" class="number">{text("errorShare")}</th><th scope="col" class="number">p99</th>
            </tr>
          }
          row={(service) => <ServiceRow key={service.name} service={service} />} />
      ) : (
        !troubled && <Empty title={text(!all ? "connecting" : wanted ? "noMatch" : "noServices")} />
      )}
      {(all?.refused.length ?? 0) > 0 && (
        <Card title={text("refusedByEdge")}>
          <ul class="problems">{all!.refused.map((one, index) => <li key={index}><code>{Object.values(one).map(String).join(" · ")}</code></li>)}</ul>
        </Card>
      )}
    </main>
  );
}

function ServiceRow({ service }: { service: Service }) {
  const rates = latest(service.name);
  return (
    <tr>
      <th scope="row" class="name" translate={false}><a href={href(["services", service.name])} title={service.name}>{service.name}</a></th>
      <td><SeenBy service={service} /></td>
      <td class="name route" translate={false} title={routes(service)}>{routes(service)}</td>
      <td class="number">{service.endpoints}</td>
      <td class="number">{rates ? perSecond(rates.rate) : "–"}</td>
      <td class="number">{rates ? percent(rates.errors) : "–"}</td>
      <td class="number">{rates?.p99 ? millis(rates.p99) : "–"}</td>
    </tr>
  );
}

function routes(service: Service): string {
  return service.routes.flatMap((route) => (route.hosts.length ? route.hosts.map((host) => host + (route.path === "/" ? "" : route.path)) : [route.path])).join(", ");
}

function SeenBy({ service }: { service: Service }) {
  const text = useText();
  return (
    <>
      {service.inConsul && <Badge kind={service.critical ? "bad" : "good"}>Consul{service.critical ? ` · ${text("failingCount", { count: service.critical })}` : ""}</Badge>}{" "}
      {service.inEdge && <Badge kind="good">{text("edge")}</Badge>}
    </>
  );
}

function OneService({ name, all }: { name: string; all: Services | null }) {
  const text = useText();
  const service = all?.services.find((one) => one.name === name);
  const detail = usePolled(`service ${name}`, () => api.service(name), 4_000);
  const samples = history.get(name);
  const rates = useMemo(() => ratesOf(samples ?? []), [samples]);
  const times = rates.map((one) => one.at);
  return (
    <main class="page">
      <header class="page-head">
        <nav class="breadcrumbs" aria-label={text("services")}>
          <ol><li><a href={href(["services"])}>{text("services")}</a></li><li translate={false}><h1>{name}</h1></li></ol>
        </nav>
      </header>
      {service && (
        <Card>
          <dl class="facts row">
            <div><dt>{text("seenBy")}</dt><dd><SeenBy service={service} /></dd></div>
            <div><dt>{text("application")}</dt><dd translate={false}>{service.app ? <a href={appHref(service.app)}>{service.app}</a> : "–"}</dd></div>
            <div><dt>{text("route")}</dt><dd translate={false}>{routes(service) || "–"}</dd></div>
            <div><dt>{text("endpoints")}</dt><dd>{service.endpoints}</dd></div>
            <div><dt>{text("activeRequests")}</dt><dd>{service.traffic?.active ?? "–"}</dd></div>
            {service.tags.length > 0 && <div><dt>{text("tags")}</dt><dd translate={false}>{service.tags.map((tag) => <span class="label" key={tag}>{tag}</span>)}</dd></div>}
          </dl>
        </Card>
      )}
      {rates.length > 0 ? (
        <div class="columns charts">
          <Card><Chart times={times} label={text("requestRate")} format={perSecond} series={[{ label: "1/s", colour: "accent", values: rates.map((one) => one.rate) }]} /></Card>
          <Card><Chart times={times} label={text("errorShare")} format={percent} top={0.05} series={[{ label: "5xx", colour: "unhealthy", values: rates.map((one) => one.errors) }]} /></Card>
          <Card><Chart times={times} label={text("latency")} format={millis} top={0.01}
            series={[{ label: "p50", colour: "healthy", values: rates.map((one) => one.p50) }, { label: "p99", colour: "staged", values: rates.map((one) => one.p99) }]} /></Card>
        </div>
      ) : (
        <p class="faint">{text("noTraffic")}</p>
      )}
      {samples && samples.length > 1 && <p class="faint small hint">{text("keptInTab", { time: clock(samples[0]!.at), minutes: (MOST_SAMPLES * LOOK_MS) / 60_000 })}</p>}
      {detail.error && !detail.value && <ErrorText error={detail.error} />}
      {detail.value && (
        <div class="table-wrap" tabIndex={0}>
          <table class="table" aria-label={text("instances")}>
            <thead><tr><th scope="col">{text("address")}</th><th scope="col">{text("status")}</th><th scope="col">{text("checks")}</th><th scope="col">{text("task")}</th></tr></thead>
            <tbody>
              {detail.value.instances.map((instance) => {
                const ill = instance.checks.filter((check) => check.status !== "passing");
                return (
                  <tr key={instance.id}>
                    <th scope="row">{instance.address}:{instance.port}</th>
                    <td>{instance.maintenance ? <Badge kind="warn">{text("draining")}</Badge> : ill.length > 0 ? <Badge kind="bad">{text("unhealthy")}</Badge> : <Badge kind="good">{text("healthy")}</Badge>}</td>
                    <td class="name" translate={false} title={ill.map((check) => check.output).join("\n")}>{(ill.length > 0 ? ill : instance.checks).map((check) => `${check.name}: ${named(text, "check", check.status)}`).join(", ") || "–"}</td>
                    <td class="name"><code title={instance.id}>{instance.meta["dromos-task"] ?? instance.id}</code></td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </main>
  );
}
