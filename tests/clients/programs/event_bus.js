// Prints what the npm client `marathon-event-bus-client` hears, one JSON line for each event. Arguments: host, port.
const Client = require("marathon-event-bus-client");

const types = ["deployment_info", "deployment_success", "deployment_failed", "status_update_event", "app_terminated_event"];
const say = (name, data) => process.stdout.write(JSON.stringify({ name, data }) + "\n");
const handlers = Object.fromEntries(types.map((type) => [type, say]));
const client = new Client({ marathonHost: process.argv[2], marathonPort: process.argv[3], eventTypes: types, handlers });
client.on("subscribed", () => say("subscribed", {}));
client.on("error", (error) => say("error", { text: String(error && error.error && error.error.message) }));
client.subscribe();
