// Dark or light: the reader's choice, else the system's.

import { Store } from "./store";

export type Theme = "dark" | "light";
const STORED = "dromos.theme";

function initial(): Theme {
  const stored = localStorage.getItem(STORED);
  if (stored === "dark" || stored === "light") return stored;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export const theme = new Store<Theme>(initial());
document.documentElement.dataset.theme = theme.value;

export function toggleTheme(): void {
  const next = theme.value === "dark" ? "light" : "dark";
  localStorage.setItem(STORED, next);
  document.documentElement.dataset.theme = next;
  theme.set(next);
}
