-- The status port of an edge with HAProxy: its numbers under the names that Nginx' have (lua/dromos/metrics.lua).
--
-- They are asked of HAProxy's own stats socket. Lua's objects for servers are not used: they know those of the start alone, and one that
-- was deleted since is a pointer to nothing, which ends the process (HAProxy 2.6).
--
-- The file that DROMOS_SERVICES names tells which service a backend is of: `backend service app`, a line each.

local file = os.getenv("DROMOS_SERVICES")
local socket = os.getenv("DROMOS_STATS")
local master = os.getenv("DROMOS_MASTER") -- its socket leads to processes of configurations before, which end their requests

local CLASSES = { "1xx", "2xx", "3xx", "4xx", "5xx" }
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 } -- as nginx/haproxy_conf.py has them
local QUESTION = "show stat -1 6 -1;show table dromos_latency\n" -- backends and servers; how long answers took
local SERVERS = "show stat -1 4 -1"
local QUIT = "\nquit\n" -- without which the master waits for more

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

-- The answer of whoever listens at `path`, nil where nobody does.
local function ask(path, question, seconds)
  local connection = core.tcp()
  connection:settimeout(seconds)
  if not connection:connect("unix@" .. path) then return nil end
  connection:send(question)
  local text = connection:receive("*a")
  connection:close()
  return text
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

local function address_of(get)
  local address = get("addr")
  return address ~= "" and address or get("svname")
end

local function count_under_way(one, get, is_in_rotation)
  local address, count = address_of(get), number(get("scur"))
  if is_in_rotation or count > 0 then one.under_way[address] = (one.under_way[address] or 0) + count end
end

local function count_servers(one, get)
  local status = get("status")
  count_under_way(one, get, not (status:find("^MAINT") or status:find("^DRAIN")))
  local address = address_of(get)
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

-- Calls `each` with the service of each backend and server that is told, and what gives its fields; `rest` with all other lines.
local function each_row(text, service_of, each, rest)
  local columns
  for line in text:gmatch("[^\n]+") do
    if line:sub(1, 2) == "# " and not columns then
      columns = {}
      for i, name in ipairs(fields_of(line:sub(3))) do columns[name] = i end
    elseif line:sub(1, 2) == "0x" then
      rest(line)
    elseif columns then
      local one = service_of(line:match("^([^,]*),"))
      local fields = one and fields_of(line)
      if one then each(one, function(name) return fields[columns[name]] or "" end) end
    end
  end
end

-- Adds what processes of configurations before have under way. Whether all could be asked: a master that an older edge started cannot be,
-- and one may end meanwhile.
local function count_old_processes(service_of)
  local processes = ask(master, "show proc" .. QUIT, 1)
  if not processes then return false end
  for pid in (processes:match("# old workers\n([^#]*)") or ""):gmatch("(%d+)[^\n]*\n") do
    local text = ask(master, "@!" .. pid .. " " .. SERVERS .. QUIT, 1) or ""
    if text:sub(1, 2) ~= "# " then return false end
    each_row(text, service_of, function(one, get) count_under_way(one, get, false) end)
  end
  return true
end

-- service -> {app, requests, active, queued, mean, buckets, sum, endpoints, under_way}, and the function that gives one of them.
local function read()
  local found = {}
  local function service_of(backend)
    local known = services[backend]
    if not known then return nil end
    local one = found[known.name]
    if not one then
      one = { app = known.app, requests = {}, active = 0, queued = 0, mean = 0, buckets = {}, sum = 0, endpoints = {}, under_way = {} }
      found[known.name] = one
    end
    return one
  end
  local function count(one, get)
    if get("svname") == "BACKEND" then count_backend(one, get) else count_servers(one, get) end
  end
  each_row(ask(socket, QUESTION, 5) or "", service_of, count, function(line)
    local one = service_of(line:match(" key=(%S+)"))
    for i = 1, one and #BUCKETS + 1 or 0 do
      one.buckets[i] = (one.buckets[i] or 0) + number(line:match(" gpc" .. (i - 1) .. "=(%d+)"))
    end
    if one then one.sum = one.sum + number(line:match(" gpt0=(%d+)")) / 1000 end
  end)
  return found, service_of
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
  local found, service_of = read()
  local is_known = count_old_processes(service_of)
  return string.format('{"start":%d,"services":%s}', start_time(), object(found, function(one)
    local list, total = cumulative(one)
    local buckets = {}
    for _, bucket in ipairs(list) do buckets[bucket[1]] = bucket[2] end
    return string.format('{"app":"%s","active":%d,"queued":%d,"requests":%s,"seconds":{"sum":%.6f,"count":%d,"buckets":%s},"endpoints":%s%s}',
      one.app, one.active, one.queued, object(one.requests, whole), one.sum, total, object(buckets, whole),
      object(one.endpoints, function(classes) return object(classes, whole) end),
      is_known and ',"under_way":' .. object(one.under_way, whole) or "")
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
