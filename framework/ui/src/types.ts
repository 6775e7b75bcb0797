// What Marathon's REST API answers, as far as this page reads it.

export interface HealthCheckResult {
  alive: boolean;
  consecutiveFailures: number;
  firstSuccess?: string | null;
  lastFailure?: string | null;
  lastFailureCause?: string | null;
  lastSuccess?: string | null;
}

export interface Task {
  id: string;
  appId: string;
  slaveId?: string | null;
  host?: string | null;
  ports?: number[] | null;
  state: string;
  stagedAt?: string | null;
  startedAt?: string | null;
  version: string;
  healthCheckResults?: HealthCheckResult[];
  ipAddresses?: { ipAddress: string; protocol: string }[];
  localVolumes?: { containerPath: string; persistenceId: string }[];
}

export interface TaskFailure {
  taskId: string;
  state: string;
  message: string;
  host: string;
  timestamp: string;
  version: string;
  slaveId?: string | null;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface App {
  id: string;
  cmd?: string | null;
  args?: string[] | null;
  cpus: number;
  mem: number;
  disk: number;
  gpus: number;
  instances: number;
  labels?: Record<string, string>;
  env?: Record<string, Json>;
  container?: JsonObject | null;
  healthChecks?: JsonObject[];
  version: string;
  versionInfo?: { lastScalingAt: string; lastConfigChangeAt: string };
  tasksStaged: number;
  tasksRunning: number;
  tasksHealthy: number;
  tasksUnhealthy: number;
  deployments?: { id: string }[];
  tasks?: Task[];
  lastTaskFailure?: TaskFailure | null;
  [field: string]: unknown;
}

export interface TaskStats {
  stats: {
    counts: { staged: number; running: number; healthy: number; unhealthy: number };
    lifeTime?: { averageSeconds: number; medianSeconds: number };
  };
}

/** A pod's definition, as far as this page reads it. */
export interface PodSpec {
  id: string;
  version: string;
  labels?: Record<string, string>;
  scaling?: { kind: string; instances: number };
  containers: { name: string; resources?: { cpus: number; mem: number; disk: number; gpus: number } }[];
  volumes?: JsonObject[];
  [field: string]: unknown;
}

export interface PodContainer {
  name: string;
  containerId: string;
  status: string;
  statusSince: string;
  message?: string;
  conditions: { name: string; value: string }[];
  endpoints: { name: string; allocatedHostPort?: number | null; healthy?: boolean }[];
  resources?: { cpus: number; mem: number };
}

export interface PodInstance {
  id: string;
  status: "PENDING" | "STAGING" | "STABLE" | "DEGRADED" | "TERMINAL";
  statusSince: string;
  agentHostname: string;
  agentId: string;
  networks: { addresses: string[] }[];
  containers: PodContainer[];
  specReference: string;
}

export interface Pod {
  id: string;
  spec: PodSpec;
  status: string;
  statusSince: string;
  instances: PodInstance[];
}

export interface DeploymentAction {
  action: string;
  app?: string;
  pod?: string;
  rollout?: { strategy: string; state: string; phase: number; shares: number[] };
}

export interface Deployment {
  id: string;
  version: string;
  affectedApps: string[];
  affectedPods?: string[];
  steps: { actions: DeploymentAction[] }[];
  currentActions: DeploymentAction[];
  currentStep: number;
  totalSteps: number;
}

export interface RejectSummary {
  reason: string;
  declined: number;
  processed: number;
}

export interface QueueItem {
  app?: App;
  pod?: { id: string };
  count: number;
  since: string;
  waitsFor?: string; // besides offers, one line
  delay: { timeLeftSeconds: number; overdue: boolean };
  processedOffersSummary: {
    processedOffersCount: number;
    unusedOffersCount: number;
    lastUnusedOfferAt?: string | null;
    lastUsedOfferAt?: string | null;
    rejectSummaryLastOffers: RejectSummary[];
    rejectSummaryLaunchAttempt: RejectSummary[];
  };
}

export interface Info {
  name: string;
  version: string;
  frameworkId?: string | null;
  leader?: string | null;
  elected?: boolean;
  marathon_config: Record<string, Json>;
}

export interface StreamEvent {
  id: string;
  eventType: string;
  timestamp: string;
  [field: string]: unknown;
}

// What the API adds for this page.

export interface Daemon {
  name: string;
  healthy: boolean;
  why: string;
}

export interface Resources {
  cpus: number;
  mem: number;
  disk: number;
  gpus: number;
  ports: string;
}

export interface Agent {
  id: string;
  hostname: string;
  version: string;
  registeredAt: number | null;
  active: boolean;
  drain: { state: string; since?: number | null } | null;
  attributes: Record<string, string>;
  resources: Resources;
  used: Resources;
  offered: Resources;
}

/** Counters since the edge started. `buckets`: upper bound in seconds -> requests that took no longer. */
export interface Traffic {
  requests: Record<string, number>;
  seconds: number;
  buckets: Record<string, number>;
  active: number;
}

export interface Service {
  name: string;
  tags: string[];
  inConsul: boolean;
  inEdge: boolean;
  app: string | null;
  endpoints: number;
  critical: number;
  routes: { hosts: string[]; path: string }[];
  traffic: Traffic | null;
}

export interface Services {
  at: number; // seconds
  services: Service[];
  refused: JsonObject[];
  problems: Record<string, string>;
}

export interface ServiceInstance {
  id: string;
  address: string;
  port: number;
  tags: string[];
  meta: Record<string, string>;
  maintenance: boolean;
  checks: { name: string; status: string; output: string }[];
}

export interface JournalEntry {
  at: number; // seconds
  app: string;
  instances: number;
  decided: number;
  reason: string;
  outcome: string;
  rate?: number | null;
}

/** A persistent volume. `size` is in MB. */
export interface Volume {
  persistenceId: string;
  containerPath: string;
  size: number;
  type: string;
  runSpecId: string;
  instanceId: string;
  taskId?: string; // while it is in use
  host: string;
  agentId: string;
  status: "attached" | "detached";
  since: string;
}

export interface SandboxFile {
  path: string;
  name: string;
  size: number;
  modifiedAt: number;
  mode: string;
  directory: boolean;
}
