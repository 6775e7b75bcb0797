// The language of the page: the reader's choice, else the browser's.

import { Store, useStore } from "../store";
import { en, type Key, type Texts } from "./en";
import { zh } from "./zh";

export type Language = "en" | "zh";
const TEXTS: Record<Language, Texts> = { en, zh };
const STORED = "dromos.language";

function initial(): Language {
  const stored = localStorage.getItem(STORED);
  if (stored === "en" || stored === "zh") return stored;
  return navigator.language.startsWith("zh") ? "zh" : "en";
}

export const language = new Store<Language>(initial());

export function setLanguage(next: Language): void {
  localStorage.setItem(STORED, next);
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
  language.set(next);
}

export type Translate = (key: Key, values?: Record<string, string | number>) => string;

export function useText(): Translate {
  const texts = TEXTS[useStore(language)];
  return (key, values) => fill(texts[key], values);
}

function fill(text: string, values: Record<string, string | number> = {}): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

function isKey(key: string): key is Key {
  return key in en;
}

/** What a name of the protocol is called, `state` and `TASK_RUNNING`; one that this page does not know stays as it is. */
export function named(text: Translate, kind: string, name: string, fallback = name): string {
  const key = `${kind}:${name}`;
  return isKey(key) ? text(key) : fallback;
}
