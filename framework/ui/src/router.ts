// Where we are, in the address: `#/apps/shop?status=Waiting&text=web`. Filters are part of it, so a view can be sent to a colleague.

import { Store, useStore } from "./store";

export interface Place {
  path: string[];
  query: URLSearchParams;
}

export function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

export const place = new Store<Place>(parse(location.hash));

window.addEventListener("hashchange", () => place.set(parse(location.hash)));

export function href(path: string[], query: Record<string, string> = {}): string {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

export function go(path: string[], query: Record<string, string> = {}): void {
  goTo(href(path, query));
}

export function goTo(address: string): void {
  location.hash = address;
  // At once: the browser tells of the change only later, and what is done until then is to be done at the new place.
  place.set(parse(location.hash));
}

/** Changes part of the query, without a new entry in the history. */
export function setQuery(changes: Record<string, string>): void {
  // Of the address, which may be ahead of what is shown.
  const { path, query } = parse(location.hash);
  for (const [key, value] of Object.entries(changes)) value ? query.set(key, value) : query.delete(key);
  history.replaceState(null, "", href(path, Object.fromEntries(query)));
  place.set({ path, query });
}

/** What a list is filtered by; it stands in the address, so the view can be sent to a colleague. */
export function useFilter(): [string, (text: string) => void] {
  const { query } = useStore(place);
  return [query.get("text") ?? "", (text) => setQuery({ text })];
}

/** `/shop/web` -> the address of its page. */
export function appHref(id: string, tab = ""): string {
  return href(["app", ...id.split("/").filter(Boolean)], tab ? { tab } : {});
}

export function podHref(id: string, tab = ""): string {
  return href(["pod", ...id.split("/").filter(Boolean)], tab ? { tab } : {});
}

export function groupHref(id: string): string {
  return href(["apps", ...id.split("/").filter(Boolean)]);
}
