// What went wrong: in the reader's language by the kind of error, then in the server's own words, which stay as they are.

import { ApiError, type Problem } from "../api";
import { type Translate, useText } from "../i18n";
import type { Key } from "../i18n/en";
import { Empty } from "./basics";

const FRAMES: Record<number, Key> = { 0: "noAnswer", 401: "errorSignIn", 403: "notPermitted", 404: "errorMissing", 409: "errorConflict", 413: "errorTooLarge", 422: "wrongFields" };

/** The error's kind, from its status. */
export function errorFrame(error: ApiError, text: Translate): string {
  return text(FRAMES[error.status] ?? (error.status >= 500 ? "errorServer" : "errorRefused"));
}

export function ErrorText({ error, problems = error.problems }: { error: ApiError; problems?: Problem[] }) {
  const text = useText();
  return (
    <div class="error" role="alert">
      <p>{errorFrame(error, text)}{error.status > 0 && <> <Said>{error.message}</Said></>}</p>
      {problems.length > 0 && (
        <ul>
          {problems.map((problem) => (
            <li key={problem.path}>
              <code>{problem.path}</code> <Errors of={problem} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** Why a field was refused. Of an id the server answers with its pattern, as Marathon does, which is for programs to read. */
export function Errors({ of }: { of: Problem }) {
  const text = useText();
  if (/(^|\/)id$/.test(of.path) && of.errors.some((error) => error.startsWith("must fully match regular expression"))) return <>{text("errorId")}</>;
  return <Said>{of.errors.join(", ")}</Said>;
}

/** A page whose subject could not be asked for, or has not come yet. */
export function NotThere({ error }: { error: ApiError | null }) {
  const text = useText();
  return <Empty whole title={error ? errorFrame(error, text) : text("connecting")}>{error && error.status > 0 && <Said>{error.message}</Said>}</Empty>;
}

/** The server's own words. */
export function Said({ children }: { children: string }) {
  return <span lang="en" translate={false}>{children}</span>;
}
