-- What the traffic was. Each worker counts for itself and adds its counts to a shared dict ten times a second, so that any worker can
-- tell the whole and a request costs no lock.
--
-- Keys of the dict: r|service|class   requests               b|service|i   requests in bucket i of the histogram
--                   t|service         seconds, summed up     a|slot|service   requests under way in one worker
--                   e|service|endpoint|class   requests to an endpoint
--                   u|slot|service|endpoint    requests under way at an endpoint, of one worker; none where there are none
--                   w|slot                     the process that has the slot

local ffi = require "ffi"

local ngx = ngx
local dict = ngx.shared.dromos_metrics
local floor, min, max = math.floor, math.min, math.max

local M = {}

local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 }
local CLASSES = { "1xx", "2xx", "3xx", "4xx", "5xx" }
local GONE_SECONDS = 600 -- how long the numbers of an endpoint stay after its last request
local FLUSH_SECONDS = 0.1
local ESRCH = 3 -- no such process

ffi.cdef "int kill(int pid, int signal);"

local slot -- which worker of which configuration this is
local counts = {} -- service -> its counts in this worker, not yet in the dict
local dirty = {} -- those with something to add
local exiting = false -- a worker on its way out has no timers any more

-- Called before workers fork. The dict outlives a reload, so the configuration's number in it tells generations apart.
function M.init()
  dict:add("start", ngx.time())
  M.incarnation = dict:incr("incarnation", 1, 0)
end

local function add(key, number)
  dict:incr(key, number, 0)
end

local function flush_classes(prefix, class)
  for i = 1, 5 do
    if class[i] > 0 then
      add(prefix .. CLASSES[i], class[i])
      class[i] = 0
    end
  end
end

local function show_under_way(name, endpoint)
  local key = "u|" .. slot .. "|" .. name .. "|" .. endpoint.key
  if endpoint.active == 0 then dict:delete(key) else dict:set(key, endpoint.active) end
  endpoint.shown = endpoint.active
end

local function flush_one(mine)
  local name, buckets = mine.name, mine.bucket
  flush_classes("r|" .. name .. "|", mine.class)
  for i = 1, #BUCKETS + 1 do
    if buckets[i] > 0 then
      add("b|" .. name .. "|" .. i, buckets[i])
      buckets[i] = 0
    end
  end
  if mine.seconds > 0 then
    add("t|" .. name, mine.seconds)
    mine.seconds = 0
  end
  for i, endpoint in ipairs(mine.endpoints) do
    flush_classes("e|" .. name .. "|" .. endpoint.key .. "|", endpoint)
    if endpoint.active ~= endpoint.shown then show_under_way(name, endpoint) end
    endpoint.is_listed = false
    mine.endpoints[i] = nil
  end
  if mine.active ~= mine.shown then
    dict:set("a|" .. slot .. "|" .. name, mine.active)
    mine.shown = mine.active
  end
end

function M.flush()
  for i, mine in ipairs(dirty) do
    mine.is_dirty = false
    dirty[i] = nil
    flush_one(mine)
  end
end

local function clear(which, keys)
  for _, key in ipairs(keys) do
    if key:match("^[au]|([^|]+)|") == which then dict:delete(key) end
  end
end

-- Slots of old configurations have no successor: what a worker left that ended, or crashed on its way out, is cleared by whoever reads.
local function clear_ended(keys)
  for _, key in ipairs(keys) do
    local which = key:match("^w|(.+)$")
    local pid = which and dict:get(key)
    if pid and ffi.C.kill(pid, 0) ~= 0 and ffi.errno() == ESRCH and dict:get(key) == pid then
      clear(which, keys)
      dict:delete(key)
    end
  end
end

-- A worker that crashed left its requests under way for ever: its successor in the same slot clears them.
function M.init_worker()
  slot = M.incarnation .. "." .. (ngx.worker.id() or "x")
  if dict:get("w|" .. slot) then clear(slot, dict:get_keys(0)) end
  dict:set("w|" .. slot, ngx.worker.pid())
  ngx.timer.every(FLUSH_SECONDS, function(is_last)
    exiting = exiting or is_last
    M.flush()
  end)
end

-- What this worker counts of a service.
function M.counts_of(name)
  local found = counts[name]
  if not found then
    found = { name = name, active = 0, shown = 0, class = { 0, 0, 0, 0, 0 }, bucket = {}, seconds = 0, endpoints = {}, known = {} }
    for i = 1, #BUCKETS + 1 do found.bucket[i] = 0 end
    counts[name] = found
  end
  return found
end

-- What it counts of an endpoint: by class, and what is under way. One for all tables that the endpoint is in, so that a request which
-- began by an older table is taken from the number that it was added to.
function M.endpoint(mine, key)
  local found = mine.known[key]
  if not found then
    found = { 0, 0, 0, 0, 0, key = key, active = 0, shown = 0, is_listed = false }
    mine.known[key] = found
  end
  return found
end

-- Forgets the endpoints that are not `present` and of which there is nothing more to tell.
function M.keep(mine, present)
  for key, endpoint in pairs(mine.known) do
    local is_idle = endpoint.active == 0 and endpoint.shown == 0 and not endpoint.is_listed
    if is_idle and not present[key] then mine.known[key] = nil end
  end
end

local function listed(mine, endpoint)
  if not endpoint.is_listed then
    endpoint.is_listed = true
    mine.endpoints[#mine.endpoints + 1] = endpoint
  end
end

local function touched(mine)
  if not mine.is_dirty then
    mine.is_dirty = true
    dirty[#dirty + 1] = mine
  end
  if exiting then M.flush() end
end

-- `endpoint`: the counts of the one that the request is given to, nil where there is none.
function M.begin(service, endpoint)
  local mine = service.counts
  mine.active = mine.active + 1
  if endpoint then
    endpoint.active = endpoint.active + 1
    listed(mine, endpoint)
  end
  touched(mine)
  return mine
end

-- The request is given to another endpoint.
function M.move(mine, from, to)
  from.active = from.active - 1
  listed(mine, from)
  to.active = to.active + 1
  listed(mine, to)
  touched(mine)
end

-- A loop here would keep LuaJIT from compiling what calls it; most requests are in the first buckets.
local function bucket_of(seconds)
  if seconds <= 0.005 then return 1 end
  if seconds <= 0.01 then return 2 end
  if seconds <= 0.025 then return 3 end
  if seconds <= 0.05 then return 4 end
  if seconds <= 0.1 then return 5 end
  if seconds <= 0.25 then return 6 end
  if seconds <= 0.5 then return 7 end
  if seconds <= 1 then return 8 end
  if seconds <= 2.5 then return 9 end
  if seconds <= 5 then return 10 end
  if seconds <= 10 then return 11 end
  if seconds <= 30 then return 12 end
  return seconds <= 60 and 13 or 14
end

local function class_of(status)
  return max(1, min(5, floor(status / 100)))
end

-- Before `finish` of the same request.
function M.count_endpoint(mine, endpoint, status)
  local class = class_of(status)
  endpoint[class] = endpoint[class] + 1
  listed(mine, endpoint)
end

-- `endpoint`: of the last try, nil where there was none.
function M.finish(mine, endpoint, status, seconds)
  mine.active = mine.active - 1
  if endpoint then
    endpoint.active = endpoint.active - 1
    listed(mine, endpoint)
  end
  local class = class_of(status)
  mine.class[class] = mine.class[class] + 1
  if status ~= 101 then -- the life of a WebSocket is no latency
    local bucket = bucket_of(seconds)
    mine.bucket[bucket] = mine.bucket[bucket] + 1
    mine.seconds = mine.seconds + seconds
  end
  touched(mine)
end

-- service -> {app, active, requests = {class = n}, seconds, buckets = {n, …}, endpoints = {address = {class = n}}, under_way = {address = n}}
-- `under_way` has every endpoint in the table and all others with requests under way; nil of TCP and UDP, which Lua sees nothing of.
function M.read()
  local store = require "dromos.store" -- which needs this module first
  M.flush()
  local services = {}
  local function service(name)
    local found = services[name]
    if not found then
      found = { app = "", active = 0, requests = {}, seconds = 0, buckets = {}, endpoints = {}, under_way = {} }
      services[name] = found
    end
    return found
  end
  local present = {}
  for _, name in ipairs(store.names()) do
    local known = store.get(name)
    if known then
      local one = service(name)
      one.app = known.app or ""
      for _, class in ipairs(CLASSES) do one.requests[class] = 0 end
      for _, peer in ipairs(known.peers) do
        one.endpoints[peer.key] = {}
        one.under_way[peer.key] = 0
        present[name .. "|" .. peer.key] = true
      end
      if known.is_stream then one.under_way = nil end
    end
  end
  clear_ended(dict:get_keys(0))
  for _, key in ipairs(dict:get_keys(0)) do
    local kind, rest = key:sub(1, 1), key:sub(3)
    local value = key:sub(2, 2) == "|" and dict:get(key)
    if value then
      if kind == "r" then
        local name, class = rest:match("^(.-)|(.+)$")
        service(name).requests[class] = value
      elseif kind == "b" then
        local name, i = rest:match("^(.-)|(.+)$")
        service(name).buckets[tonumber(i)] = value
      elseif kind == "t" then
        service(rest).seconds = value
      elseif kind == "a" then
        local name = rest:match("|(.+)$")
        service(name).active = service(name).active + value
      elseif kind == "u" then
        local name, endpoint = rest:match("^[^|]+|(.-)|(.+)$")
        local map = service(name).under_way
        if map then map[endpoint] = (map[endpoint] or 0) + value end
      elseif kind == "e" then
        local name, endpoint, class = rest:match("^(.-)|(.+)|(%dxx)$")
        local one = service(name).endpoints
        one[endpoint] = one[endpoint] or {}
        one[endpoint][class] = value
        if present[name .. "|" .. endpoint] then
          dict:expire(key, 0)
        elseif (dict:ttl(key) or 0) == 0 then
          dict:expire(key, GONE_SECONDS)
        end
      end
    end
  end
  return services
end

local function sorted(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  table.sort(list)
  return list
end

local function shown(number)
  return number == math.floor(number) and ("%d"):format(number) or ("%.6g"):format(number)
end

function M.prometheus()
  local store = require "dromos.store"
  local services = M.read()
  local out = {}
  local function add(text) out[#out + 1] = text end
  local function each(write)
    for _, name in ipairs(sorted(services)) do
      local one = services[name]
      write(one, ('service="%s",app="%s"'):format(name, one.app))
    end
  end

  add("# HELP dromos_edge_requests_total Requests by class of status code.\n# TYPE dromos_edge_requests_total counter\n")
  each(function(one, labels)
    for _, class in ipairs(sorted(one.requests)) do
      add(('dromos_edge_requests_total{%s,code="%s"} %s\n'):format(labels, class, shown(one.requests[class])))
    end
  end)
  add("# HELP dromos_edge_request_seconds From the first byte of a request to the last of its answer.\n"
    .. "# TYPE dromos_edge_request_seconds histogram\n")
  each(function(one, labels)
    local total = 0
    for i = 1, #BUCKETS + 1 do
      total = total + (one.buckets[i] or 0)
      local le = BUCKETS[i] and shown(BUCKETS[i]) or "+Inf"
      add(('dromos_edge_request_seconds_bucket{%s,le="%s"} %s\n'):format(labels, le, shown(total)))
    end
    add(('dromos_edge_request_seconds_sum{%s} %.6f\n'):format(labels, one.seconds))
    add(('dromos_edge_request_seconds_count{%s} %s\n'):format(labels, shown(total)))
  end)
  add("# HELP dromos_edge_active_requests Requests under way.\n# TYPE dromos_edge_active_requests gauge\n")
  each(function(one, labels)
    add(('dromos_edge_active_requests{%s} %s\n'):format(labels, shown(math.max(one.active, 0))))
  end)
  add("# HELP dromos_edge_endpoint_requests_total Tries at an endpoint by class of status code.\n"
    .. "# TYPE dromos_edge_endpoint_requests_total counter\n")
  each(function(one, labels)
    for _, endpoint in ipairs(sorted(one.endpoints)) do
      for _, class in ipairs(sorted(one.endpoints[endpoint])) do
        add(('dromos_edge_endpoint_requests_total{%s,endpoint="%s",code="%s"} %s\n'):format(
          labels, endpoint, class, shown(one.endpoints[endpoint][class])))
      end
    end
  end)
  add("# HELP dromos_edge_start_time_seconds When this Nginx started, since the epoch.\n"
    .. "# TYPE dromos_edge_start_time_seconds gauge\n")
  add(("dromos_edge_start_time_seconds %d\n"):format(dict:get("start") or 0))
  add("# HELP dromos_edge_table_counter Number of the last change of endpoints.\n# TYPE dromos_edge_table_counter gauge\n")
  add(("dromos_edge_table_counter %d\n"):format(store.counter()))
  return table.concat(out)
end

function M.json()
  local store = require "dromos.store"
  local services = M.read()
  for _, one in pairs(services) do
    local count = 0
    for _, number in pairs(one.buckets) do count = count + number end
    local cumulative, total = {}, 0
    for i = 1, #BUCKETS + 1 do
      total = total + (one.buckets[i] or 0)
      cumulative[BUCKETS[i] and shown(BUCKETS[i]) or "+Inf"] = total
    end
    one.seconds = { sum = one.seconds, count = count, buckets = cumulative }
    one.buckets = nil
    one.active = math.max(one.active, 0)
  end
  return { start = dict:get("start"), counter = store.counter(), services = services }
end

return M
