// The deployments that run: how far each is, and the way back.

import { useState } from "preact/hooks";
import { api } from "../api";
import { Badge, Card, Empty, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { ActionButton } from "../components/permitted";
import { named, type Translate, useText } from "../i18n";
import { cluster, refresh } from "../live";
import { appHref, podHref } from "../router";
import { useStore } from "../store";
import type { Deployment, DeploymentAction } from "../types";

const MOST_NAMES = 6;
const MOST_ACTIONS = 12; // of a step

export function DeploymentsPage() {
  const text = useText();
  const { deployments } = useStore(cluster);
  return (
    <main class="page">
      <header class="page-head"><h1>{text("deployments")}</h1></header>
      {deployments.length === 0 ? <Empty title={text("noDeployments")} /> : deployments.map((item) => <DeploymentCard key={item.id} deployment={item} />)}
    </main>
  );
}

export function DeploymentCard({ deployment }: { deployment: Deployment }) {
  const text = useText();
  const [asked, setAsked] = useState<"roll back" | "stop" | "go" | null>(null);
  const affected = [
    ...deployment.affectedApps.map((id) => ({ id, to: appHref(id) })),
    ...(deployment.affectedPods ?? []).map((id) => ({ id, to: podHref(id) })),
  ];
  const names = affected.map(({ id }) => id).join(", ");
  const path = affected[0]?.id ?? "/";
  const rollouts = deployment.currentActions.flatMap(({ rollout }) => (rollout && rollout.state !== "completing" ? [rollout] : []));
  const waits = rollouts.some((rollout) => rollout.state === "waiting for go");
  const close = () => (setAsked(null), refresh(0));
  return (
    <Card>
      <div class="deployment">
        <div>
          <div class="deployment-apps" translate={false}>
            {affected.slice(0, MOST_NAMES).map(({ id, to }) => <a key={id} href={to}>{id}</a>)}
            {affected.length > MOST_NAMES && <span class="faint">+{affected.length - MOST_NAMES}</span>}
          </div>
          <p class="faint"><When time={deployment.version} /> · <code>{deployment.id}</code></p>
        </div>
        <div class="deployment-progress">
          <progress max={deployment.totalSteps} value={Math.max(0, deployment.currentStep - 0.5)} aria-label={text("step", { current: deployment.currentStep, total: deployment.totalSteps })} />
          <span>{text("step", { current: deployment.currentStep, total: deployment.totalSteps })}</span>
          <div class="chips">{deployment.currentActions.slice(0, 8).map((action, index) => (
            <span key={index}>
              <Badge kind="status-deploying">{named(text, "action", action.action)}</Badge>
              {action.rollout && <Badge kind={action.rollout.state === "completing" ? "plain" : "warn"}>{rolloutText(action.rollout, text)}</Badge>}
            </span>
          ))}</div>
        </div>
        <div class="actions">
          {rollouts.length > 0 && <ActionButton verb="update" path={path} kind={waits ? "primary" : ""} onClick={() => setAsked("go")}>{text("goOn")}</ActionButton>}
          <ActionButton verb="update" path={path} onClick={() => setAsked("roll back")}>{text("rollBack")}</ActionButton>
          <ActionButton verb="update" path={path} kind="danger-text" onClick={() => setAsked("stop")}>{text("stop")}</ActionButton>
        </div>
      </div>
      {deployment.steps.length > 1 && <Steps deployment={deployment} />}
      {asked === "go" && (
        <ActionDialog title={text("goOn")} question={text("goOnQuestion", { id: names })} confirm={text("goOn")} forceable={text("goForceQuestion")} onClose={close}
          act={(force) => api.go(deployment.id, force)} />
      )}
      {(asked === "stop" || asked === "roll back") && (
        <ActionDialog title={text(asked === "stop" ? "stop" : "rollBack")} question={text(asked === "stop" ? "stopQuestion" : "rollBackDeployment", { id: names })} confirm={text(asked === "stop" ? "stop" : "rollBack")}
          danger={asked === "stop"} onClose={close} act={() => api.cancelDeployment(deployment.id, asked === "stop")} />
      )}
    </Card>
  );
}

function Steps({ deployment }: { deployment: Deployment }) {
  const text = useText();
  return (
    <details class="steps">
      <summary>{text("steps")}</summary>
      <ol>
        {deployment.steps.map(({ actions }, index) => (
          <li key={index} aria-current={index + 1 === deployment.currentStep ? "step" : undefined}>
            {actions.slice(0, MOST_ACTIONS).map((action, at) => (
              <span key={at}>{named(text, "action", action.action)} <code>{action.app ?? action.pod}</code> </span>
            ))}
            {actions.length > MOST_ACTIONS && <span class="faint">+{actions.length - MOST_ACTIONS}</span>}
          </li>
        ))}
      </ol>
    </details>
  );
}

function rolloutText({ strategy, state, phase, shares }: NonNullable<DeploymentAction["rollout"]>, text: Translate): string {
  const share = strategy === "canary" && shares[phase - 1] !== undefined ? ` ${shares[phase - 1]} %` : "";
  return `${named(text, "rollout", strategy)}${share}: ${named(text, "rolloutState", state)}`;
}
