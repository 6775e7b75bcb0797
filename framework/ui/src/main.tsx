// The frame around the pages: navigation, keyboard, and whether what is shown is still true.

import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Dialog } from "./components/dialog";
import { Said } from "./components/errors";
import { SearchDialog } from "./components/search";
import { useCurrentInSight } from "./components/tabs";
import { Empty } from "./components/basics";
import { language, setLanguage, useText } from "./i18n";
import type { Key } from "./i18n/en";
import { cluster, connection, start } from "./live";
import { SignIn } from "./components/signin";
import { me, signOut, unknown } from "./session";
import { AgentsPage, InstancesPage } from "./pages/agents";
import { InstancePage } from "./pages/instance";
import { ServicesPage } from "./pages/services";
import { AppPage } from "./pages/app";
import { AppsPage } from "./pages/apps";
import { DeploymentsPage } from "./pages/deployments";
import { EventsPage } from "./pages/events";
import { OverviewPage } from "./pages/overview";
import { PodPage, PodsPage } from "./pages/pods";
import { go, href, place } from "./router";
import { useStore } from "./store";
import { theme, toggleTheme } from "./theme";

const PAGES: Record<string, () => preact.JSX.Element> = {
  "": OverviewPage,
  apps: AppsPage,
  app: AppPage,
  pod: PodPage,
  pods: PodsPage,
  instance: InstancePage,
  instances: InstancesPage,
  deployments: DeploymentsPage,
  agents: AgentsPage,
  services: ServicesPage,
  events: EventsPage,
};

/** The section that the page of one thing belongs to. */
const SECTION: Record<string, string> = { app: "apps", pod: "pods", instance: "instances" };

function Page() {
  const text = useText();
  const { path } = useStore(place);
  const Shown = PAGES[path[0] ?? ""];
  return Shown ? <Shown /> : <main class="page"><Empty whole title={text("notFound")}><a href={href([])}>{text("toOverview")}</a></Empty></main>;
}

function Frame() {
  const [open, setOpen] = useState<"help" | "search" | null>(null);
  const stranger = useStore(unknown);
  useShortcuts(setOpen);
  return (
    <>
      <TopBar onSearch={() => setOpen("search")} onHelp={() => setOpen("help")} />
      <StaleNotice />
      {stranger ? <SignIn /> : <Page />}
      {open === "help" && <HelpDialog onClose={() => setOpen(null)} />}
      {open === "search" && <SearchDialog onClose={() => setOpen(null)} />}
    </>
  );
}

function TopBar({ onSearch, onHelp }: { onSearch: () => void; onHelp: () => void }) {
  const text = useText();
  const { path } = useStore(place);
  const running = useStore(cluster, (value) => value.deployments.length);
  const { state } = useStore(connection);
  const shownTheme = useStore(theme);
  const shownLanguage = useStore(language);
  const who = useStore(me);
  const here = path[0] ?? "";
  const bar = useRef<HTMLElement>(null);
  useCurrentInSight(bar, here);
  const link = (to: string, label: Key, count = 0) => (
    <a href={href(to ? [to] : [])} aria-current={here === to || SECTION[here] === to ? "page" : undefined}>
      {text(label)}{count > 0 && <span class="count">{count}</span>}
    </a>
  );
  return (
    <header class="topbar">
      <a class="brand" href={href([])}><img src="icon.svg" alt="" width="24" height="24" />Dromos</a>
      <nav aria-label="Dromos" ref={bar}>
        {link("", "overview")}
        {link("apps", "applications")}
        {link("pods", "pods")}
        {link("deployments", "deployments", running)}
        {link("instances", "instances")}
        {link("agents", "agents")}
        {link("services", "services")}
        {link("events", "events")}
      </nav>
      <div class="tools">
        <button type="button" class="search" onClick={onSearch}>{text("search")} <kbd>/</kbd></button>
        {who?.signedIn && <button type="button" onClick={signOut} title={text("signOut")} aria-label={`${text("signOut")} (${who.name})`}>{who.name} ⏻</button>}
        <span class={`connection ${state}`} role="status"><i class="dot" aria-hidden="true" /><span class="connection-text">{text(state)}</span></span>
        <button type="button" class="icon" aria-label={`${text("language")}: ${shownLanguage === "en" ? "English" : "中文"}`} lang={shownLanguage === "en" ? "zh-CN" : "en"} onClick={() => setLanguage(shownLanguage === "en" ? "zh" : "en")}>
          {shownLanguage === "en" ? "中" : "EN"}
        </button>
        <button type="button" class="icon" aria-label={`${text("theme")}: ${text(shownTheme === "dark" ? "themeDark" : "themeLight")}`} onClick={toggleTheme}>
          {shownTheme === "dark" ? "☾" : "☀"}
        </button>
        <button type="button" class="icon" aria-label={text("shortcuts")} onClick={onHelp}>?</button>
      </div>
    </header>
  );
}

function StaleNotice() {
  const text = useText();
  const { state, why } = useStore(connection);
  const loadedAt = useStore(cluster, (value) => value.loadedAt);
  if (state !== "stale") return null;
  return <p class="stale" role="alert">{text("staleExplained", { time: new Date(loadedAt).toLocaleTimeString() })} <Said>{why}</Said></p>;
}

const SHORTCUTS: [string, Key][] = [
  ["c", "shortcutCreate"],
  ["s", "shortcutScale"],
  ["g a", "shortcutApps"],
  ["g p", "shortcutPods"],
  ["g d", "shortcutDeployments"],
  ["g i", "shortcutInstances"],
  ["g n", "shortcutAgents"],
  ["g s", "shortcutServices"],
  ["g e", "shortcutEvents"],
  ["/", "shortcutSearch"],
  ["?", "shortcutHelp"],
];

function HelpDialog({ onClose }: { onClose: () => void }) {
  const text = useText();
  return (
    <Dialog title={text("shortcuts")} onClose={onClose}>
      <dl class="facts">
        {SHORTCUTS.map(([keys, label]) => (
          <div key={keys}><dt>{keys.split(" ").map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{text(label)}</dd></div>
        ))}
      </dl>
    </Dialog>
  );
}

function useShortcuts(open: (what: "help" | "search") => void): void {
  useEffect(() => {
    let before = "";
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || document.querySelector("dialog[open]")) return;
      const keys = before === "g" ? `g ${event.key}` : event.key;
      before = event.key === "g" ? "g" : "";
      if (keys === "?") open("help");
      else if (keys === "/") open("search");
      else if (unknown.value) return;
      else if (keys === "c") here("action-create") || go(["apps"], { create: "1" });
      else if (keys === "s") here("action-scale");
      else if (keys === "g a") go(["apps"]);
      else if (keys === "g p") go(["pods"]);
      else if (keys === "g d") go(["deployments"]);
      else if (keys === "g e") go(["events"]);
      else if (keys === "g i") go(["instances"]);
      else if (keys === "g n") go(["agents"]);
      else if (keys === "g s") go(["services"]);
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

/** Presses the button with this id, if the page has it. */
function here(id: string): boolean {
  const button = document.getElementById(id);
  button?.click();
  return button !== null;
}

setLanguage(language.value);
start();
render(<Frame />, document.getElementById("root")!);
