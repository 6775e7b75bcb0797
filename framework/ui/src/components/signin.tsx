// Who are you? Asked where the server does not know us.

import { useState } from "preact/hooks";
import { useText } from "../i18n";
import { refresh } from "../live";
import { signIn } from "../session";

export function SignIn() {
  const text = useText();
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const [said, setSaid] = useState("");
  const submit = async () => {
    setSaid("");
    try {
      if (await signIn(name, secret)) refresh(0);
      else setSaid(text("signInRefused"));
    } catch {
      setSaid(text("noAnswer"));
    }
  };
  return (
    <main class="page">
      <form class="card signin" onSubmit={(event) => (event.preventDefault(), void submit())}>
        <h1>{text("signIn")}</h1>
        <p class="faint">{text("signInExplained")}</p>
        <label class="field"><span>{text("userName")}</span>
          <input autoFocus autocomplete="username" value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label class="field"><span>{text("password")}</span>
          <input type="password" autocomplete="current-password" value={secret} onInput={(event) => setSecret(event.currentTarget.value)} />
        </label>
        {said && <p class="error" role="alert">{said}</p>}
        <footer class="dialog-foot"><button type="submit" class="primary" disabled={!secret}>{text("signIn")}</button></footer>
      </form>
    </main>
  );
}
