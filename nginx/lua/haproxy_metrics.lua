-- The status port of an edge with HAProxy: its numbers under the names that Nginx' have (lua/dromos/metrics.lua).
--
-- HAProxy keeps no histogram of times. It gives the mean of the last 1024 requests instead, and the length of queues.
-- The file that the environment names tells which service a backend is of: `backend service app`, a line each.

local file = os.getenv("DROMOS_SERVICES")

local CLASSES = { "1xx", "2xx", "3xx", "4xx", "5xx" }

local services = {} -- backend -> {name, app}

core.register_init(function()
  local lines = io.open(file)
  if not lines then return end
  for line in lines:lines() do
    local backend, name, app = line:match("^(%S+) (%S+) ?(%S*)$")
    if backend then services[backend] = { name = name, app = app } end
  end
  lines:close()
end)

local function number(value)
  return tonumber(value) or 0
end

-- service -> {app, requests, active, queue, mean, endpoints}
local function read()
  local found = {}
  for name, proxy in pairs(core.backends) do
    local service = services[name]
    if service then
      local one = found[service.name]
      if not one then
        one = { app = service.app, requests = {}, active = 0, queue = 0, mean = 0, endpoints = {} }
        found[service.name] = one
      end
      local stats = proxy:get_stats()
      for _, class in ipairs(CLASSES) do
        one.requests[class] = (one.requests[class] or 0) + number(stats["hrsp_" .. class])
      end
      one.active = one.active + number(stats.scur)
      one.queue = one.queue + number(stats.qcur)
      one.mean = math.max(one.mean, number(stats.ttime) / 1000)
      for _, server in pairs(proxy.servers) do
        local numbers = server:get_stats()
        local address = numbers.addr or numbers.svname
        local endpoint = one.endpoints[address] or {}
        one.endpoints[address] = endpoint
        for _, class in ipairs(CLASSES) do
          local count = number(numbers["hrsp_" .. class])
          if count > 0 then endpoint[class] = (endpoint[class] or 0) + count end
        end
      end
    end
  end
  return found
end

local function sorted(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  table.sort(list)
  return list
end

local function render()
  local found, out = read(), {}
  local function add(...) out[#out + 1] = string.format(...) end
  local function each(name, kind, help, write)
    add("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
    for _, service in ipairs(sorted(found)) do
      local one = found[service]
      write(one, string.format('service="%s",app="%s"', service, one.app))
    end
  end
  each("dromos_edge_requests_total", "counter", "Requests by class of status code.", function(one, labels)
    for _, class in ipairs(CLASSES) do
      add('dromos_edge_requests_total{%s,code="%s"} %d\n', labels, class, one.requests[class])
    end
  end)
  each("dromos_edge_active_requests", "gauge", "Requests under way.", function(one, labels)
    add("dromos_edge_active_requests{%s} %d\n", labels, one.active)
  end)
  each("dromos_edge_queued_requests", "gauge", "Requests that wait for an endpoint.", function(one, labels)
    add("dromos_edge_queued_requests{%s} %d\n", labels, one.queue)
  end)
  each("dromos_edge_request_mean_seconds", "gauge", "Mean time of the last 1024 requests.", function(one, labels)
    add("dromos_edge_request_mean_seconds{%s} %.6f\n", labels, one.mean)
  end)
  each("dromos_edge_endpoint_requests_total", "counter", "Answers of an endpoint by class of status code.", function(one, labels)
    for _, endpoint in ipairs(sorted(one.endpoints)) do
      for _, class in ipairs(sorted(one.endpoints[endpoint])) do
        add('dromos_edge_endpoint_requests_total{%s,endpoint="%s",code="%s"} %d\n', labels, endpoint, class,
          one.endpoints[endpoint][class])
      end
    end
  end)
  local info = core.get_info()
  add("# HELP dromos_edge_start_time_seconds When this HAProxy started, since the epoch.\n")
  add("# TYPE dromos_edge_start_time_seconds gauge\n")
  add("dromos_edge_start_time_seconds %d\n", os.time() - number(info.Uptime_sec))
  return table.concat(out)
end

local function serve(applet, kind, body)
  applet:set_status(200)
  applet:add_header("Content-Type", kind)
  applet:add_header("Content-Length", tostring(#body))
  applet:start_response()
  applet:send(body)
end

core.register_service("dromos_metrics", "http", function(applet)
  serve(applet, "text/plain; version=0.0.4; charset=utf-8", render())
end)

core.register_service("dromos_health", "http", function(applet)
  serve(applet, "application/json", '{"healthy":true}')
end)
