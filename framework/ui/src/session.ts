// Who is at the page, and what they may do. Credentials are kept for the tab alone, and go out with calls to the API.

import { BASE } from "./base";
import { Store } from "./store";

export type Verb = "view" | "create" | "update" | "delete" | "admin";

export interface Me {
  name: string;
  signedIn: boolean; // whether there are accounts at all
  readOnly: boolean;
  permissions: { verb: Verb; path: string }[];
}

const STORED = "dromos.authorization";

export const authorization = new Store<string | null>(sessionStorage.getItem(STORED));
export const me = new Store<Me | null>(null);
/** Whether the server asks who we are. */
export const unknown = new Store<boolean>(false);

export function headers(): Record<string, string> {
  return authorization.value ? { Authorization: authorization.value } : {};
}

export function signOut(): void {
  sessionStorage.removeItem(STORED);
  authorization.set(null);
  me.set(null);
  unknown.set(true);
}

/** False where the server does not know these credentials. An empty name means that `secret` is a token. */
export async function signIn(name: string, secret: string): Promise<boolean> {
  const bytes = new TextEncoder().encode(`${name}:${secret}`);
  const given = name ? `Basic ${btoa(String.fromCharCode(...bytes))}` : `Bearer ${secret}`;
  const response = await fetch(`${BASE}/v2/me`, { headers: { Authorization: given }, credentials: "omit" });
  if (!response.ok) return false;
  sessionStorage.setItem(STORED, given);
  authorization.set(given);
  me.set((await response.json()) as Me);
  unknown.set(false);
  return true;
}

/** What they may do to a path, as the server decides it; yes while that is not known: the server has the last word. */
export function allowed(who: Me | null, verb: Verb, path: string): boolean {
  if (!who) return true;
  if (who.readOnly && verb !== "view") return false;
  return who.permissions.some((grant) => grant.verb === verb && (grant.path === "/" || path === grant.path || path.startsWith(`${grant.path}/`)));
}
