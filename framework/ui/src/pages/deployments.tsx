// The deployments that run: how far each is, and the way back.

import { useState } from "preact/hooks";
import { api } from "../api";
import { Badge, Card, Empty, When } from "../components/basics";
import { ActionDialog } from "../components/dialog";
import { ActionButton } from "../components/permitted";
import { useText } from "../i18n";
import { cluster, refresh } from "../live";
import { appHref } from "../router";
import { useStore } from "../store";
import type { Deployment } from "../types";

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
  const path = deployment.affectedApps[0] ?? "/";
  const waits = deployment.currentActions.some((action) => action.rollout?.state === "waiting for go");
  const close = () => (setAsked(null), refresh(0));
  return (
    <Card>
      <div class="deployment">
        <div>
          <div class="deployment-apps">
            {deployment.affectedApps.slice(0, 6).map((id) => <a key={id} href={appHref(id)}>{id}</a>)}
            {deployment.affectedApps.length > 6 && <span class="faint">+{deployment.affectedApps.length - 6}</span>}
          </div>
          <p class="faint"><When time={deployment.version} /> · <code>{deployment.id}</code></p>
        </div>
        <div class="deployment-progress">
          <progress max={deployment.totalSteps} value={Math.max(0, deployment.currentStep - 0.5)} aria-label={text("step", { current: deployment.currentStep, total: deployment.totalSteps })} />
          <span>{text("step", { current: deployment.currentStep, total: deployment.totalSteps })}</span>
          <div class="chips">{deployment.currentActions.slice(0, 8).map((action, index) => (
            <span key={index}><Badge kind="status-deploying">{action.action}</Badge>{action.rollout && <> <Badge kind={action.rollout.state === "running" ? "plain" : "warn"}>{action.rollout.strategy}: {action.rollout.state}</Badge></>}</span>
          ))}</div>
        </div>
        <div class="actions">
          {waits && <ActionButton verb="update" path={path} kind="primary" onClick={() => setAsked("go")}>{text("goOn")}</ActionButton>}
          <ActionButton verb="update" path={path} onClick={() => setAsked("roll back")}>{text("rollBack")}</ActionButton>
          <ActionButton verb="update" path={path} kind="danger-text" onClick={() => setAsked("stop")}>{text("stop")}</ActionButton>
        </div>
      </div>
      {asked === "go" && (
        <ActionDialog title={text("goOn")} question={text("goOnQuestion", { id: deployment.affectedApps.join(", ") })} confirm={text("goOn")} onClose={close}
          act={(force) => api.go(deployment.id, force)} />
      )}
      {(asked === "stop" || asked === "roll back") && (
        <ActionDialog title={text(asked === "stop" ? "stop" : "rollBack")} question={deployment.affectedApps.join(", ")} confirm={text(asked === "stop" ? "stop" : "rollBack")}
          danger={asked === "stop"} onClose={close} act={() => api.cancelDeployment(deployment.id, asked === "stop")} />
      )}
    </Card>
  );
}
