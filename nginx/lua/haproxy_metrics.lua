-- The status port of an edge with HAProxy: its numbers under the names that Nginx' have (lua/dromos/metrics.lua).
--
-- They are asked of HAProxy's own stats socket. Lua's objects for servers are not used: they know those of the start alone, and one that
-- was deleted since is a pointer to nothing, which ends the process (HAProxy 2.6).
--
-- The file that DROMOS_SERVICES names tells which service a backend is of: `backend service app`, a line each.

local file = os.getenv("DROMOS_SERVICES")
local socket = os.getenv("DROMOS_STATS")

local CLASSES = { "1xx", "2xx", "3xx", "4xx", "5xx" }
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 } -- as nginx/haproxy_conf.py has them
local QUESTION = "show stat -1 6 -1;show table dromos_latency\n" -- backends and servers; how long answers took

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

local function ask()
  local connection = core.tcp()
  connection:settimeout(5)
  if not connection:connect("unix@" .. socket) then return "" end
  connection:send(QUESTION)
  local text = connection:receive("*a")
  connection:close()
  return text or ""
end

-- The fields of a line of CSV; those with a comma or a quote are quoted.
local function fields_of(line)
  local fields, at = {}, 1
  while at <= #line do
    if line:sub(at, at) == '"' then
      local stop = at
      repeat
        stop = line:find('"', stop + 1, true) or #line
        local doubled = line:sub(stop + 1, stop + 1) == '"'
        if doubled then stop = stop + 1 end
      until not doubled
      fields[#fields + 1] = line:sub(at + 1, stop - 1)
      at = stop + 2
    else
      local comma = line:find(",", at, true) or #line + 1
      fields[#fields + 1] = line:sub(at, comma - 1)
      at = comma + 1
    end
  end
  return fields
end

local function number(value)
  return tonumber(value) or 0
end

local function count_servers(one, get)
  local address = get("addr")
  if address == "" then address = get("svname") end
  local endpoint = one.endpoints[address] or {}
  one.endpoints[address] = endpoint
  for _, class in ipairs(CLASSES) do
    local count = number(get("hrsp_" .. class))
    if count > 0 then endpoint[class] = (endpoint[class] or 0) + count end
  end
end

local function count_backend(one, get)
  for _, class in ipairs(CLASSES) do
    one.requests[class] = (one.requests[class] or 0) + number(get("hrsp_" .. class))
  end
  one.active = one.active + number(get("scur"))
  one.queued = one.queued + number(get("qcur"))
  one.mean = math.max(one.mean, number(get("ttime")) / 1000)
end

-- service -> {app, requests, active, queued, mean, buckets, sum, endpoints}
local function read()
  local found, columns = {}, nil
  local function service_of(backend)
    local known = services[backend]
    if not known then return nil end
    local one = found[known.name]
    if not one then
      one = { app = known.app, requests = {}, active = 0, queued = 0, mean = 0, buckets = {}, sum = 0, endpoints = {} }
      found[known.name] = one
    end
    return one
  end
  for line in ask():gmatch("[^\n]+") do
    if line:sub(1, 2) == "# " and not columns then
      columns = {}
      for i, name in ipairs(fields_of(line:sub(3))) do columns[name] = i end
    elseif line:sub(1, 2) == "0x" then
      local one = service_of(line:match(" key=(%S+)"))
      for i = 1, one and #BUCKETS + 1 or 0 do
        one.buckets[i] = (one.buckets[i] or 0) + number(line:match(" gpc" .. (i - 1) .. "=(%d+)"))
      end
      if one then one.sum = one.sum + number(line:match(" gpt0=(%d+)")) / 1000 end
    elseif columns then
      local one = service_of(line:match("^([^,]*),"))
      local fields = one and fields_of(line)
      local function get(name) return fields[columns[name]] or "" end
      if one then (get("svname") == "BACKEND" and count_backend or count_servers)(one, get) end
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

-- {[le] = answers that took no longer}, in order, and their number.
local function cumulative(one)
  local list, total = {}, 0
  for i = 1, #BUCKETS + 1 do
    total = total + (one.buckets[i] or 0)
    list[i] = { BUCKETS[i] and string.format("%.6g", BUCKETS[i]) or "+Inf", total }
  end
  return list, total
end

local function start_time()
  return os.time() - number(core.get_info().Uptime_sec)
end

local function prometheus()
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
      add('dromos_edge_requests_total{%s,code="%s"} %d\n', labels, class, one.requests[class] or 0)
    end
  end)
  each("dromos_edge_request_seconds", "histogram", "From a request to the head of an endpoint's answer.", function(one, labels)
    local list, total = cumulative(one)
    for _, bucket in ipairs(list) do
      add('dromos_edge_request_seconds_bucket{%s,le="%s"} %d\n', labels, bucket[1], bucket[2])
    end
    add("dromos_edge_request_seconds_sum{%s} %.6f\n", labels, one.sum)
    add("dromos_edge_request_seconds_count{%s} %d\n", labels, total)
  end)
  each("dromos_edge_active_requests", "gauge", "Requests under way.", function(one, labels)
    add("dromos_edge_active_requests{%s} %d\n", labels, one.active)
  end)
  each("dromos_edge_queued_requests", "gauge", "Requests that wait for an endpoint.", function(one, labels)
    add("dromos_edge_queued_requests{%s} %d\n", labels, one.queued)
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
  add("# HELP dromos_edge_start_time_seconds When this HAProxy started, since the epoch.\n")
  add("# TYPE dromos_edge_start_time_seconds gauge\n")
  add("dromos_edge_start_time_seconds %d\n", start_time())
  return table.concat(out)
end

-- Names of services and apps and addresses of endpoints are checked where they come in: nothing in them needs an escape.
local function object(map, write)
  local parts = {}
  for _, key in ipairs(sorted(map)) do parts[#parts + 1] = string.format('"%s":%s', key, write(map[key])) end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function whole(count)
  return string.format("%d", count)
end

local function json()
  return string.format('{"start":%d,"services":%s}', start_time(), object(read(), function(one)
    local list, total = cumulative(one)
    local buckets = {}
    for _, bucket in ipairs(list) do buckets[bucket[1]] = bucket[2] end
    return string.format('{"app":"%s","active":%d,"queued":%d,"requests":%s,"seconds":{"sum":%.6f,"count":%d,"buckets":%s},"endpoints":%s}',
      one.app, one.active, one.queued, object(one.requests, whole), one.sum, total, object(buckets, whole),
      object(one.endpoints, function(classes) return object(classes, whole) end))
  end))
end

local function serve(name, kind, body)
  core.register_service(name, "http", function(applet)
    local text = body()
    applet:set_status(200)
    applet:add_header("Content-Type", kind)
    applet:add_header("Content-Length", tostring(#text))
    applet:start_response()
    applet:send(text)
  end)
end

serve("dromos_metrics", "text/plain; version=0.0.4; charset=utf-8", prometheus)
serve("dromos_json", "application/json", json)
serve("dromos_health", "application/json", function() return '{"healthy":true}' end)
