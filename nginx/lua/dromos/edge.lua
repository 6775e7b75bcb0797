-- A request's way through the edge: which service (access), which endpoint (balance), what came of it (log).

local balancer = require "ngx.balancer"
local health = require "dromos.health"
local metrics = require "dromos.metrics"
local pick = require "dromos.pick"
local store = require "dromos.store"

local ngx = ngx
local random = math.random
local now, start_time = ngx.now, ngx.req.start_time
local control_dict = ngx.shared.dromos_control

local CLOSING_SECONDS = 0.05 -- how often a worker looks whether it is to end its connections
local closing = false

local M = { generation = 0 }

local PAGE = [[<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%s</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#222}</style></head>
<body><h1>%s</h1><p>%s</p></body></html>
]]

function M.init(options)
  M.generation = options.generation
  store.load(options.endpoints)
  metrics.init()
end

function M.init_worker()
  metrics.init_worker()
  ngx.timer.every(CLOSING_SECONDS, function() closing = control_dict:get("closing") == M.generation end)
end

local function refuse(title, text, retry_after)
  ngx.status = 503
  ngx.header["Content-Type"] = "text/html; charset=utf-8"
  ngx.header["Retry-After"] = retry_after
  ngx.header["Cache-Control"] = "no-store"
  ngx.print(PAGE:format(title, title, text))
  return ngx.exit(503)
end

-- Header before cookie before weight.
local function canary_of(service)
  local by_cookie, left_out = nil, {}
  for _, canary in ipairs(service.canaries) do
    if canary.header ~= "" then
      local given = ngx.req.get_headers(100)[canary.header]
      if type(given) == "table" then given = given[1] end
      if given == canary.value then return canary.service end
      if given == "never" then left_out[canary.service] = true end
    end
  end
  for _, canary in ipairs(service.canaries) do
    if canary.cookie ~= "" and not left_out[canary.service] then
      local given = ngx.var["cookie_" .. canary.cookie]
      if given == "always" then by_cookie = by_cookie or canary.service end
      if given == "never" then left_out[canary.service] = true end
    end
  end
  if by_cookie then return by_cookie end
  local ball, weight = random(100), 0
  for _, canary in ipairs(service.canaries) do
    weight = weight + canary.weight
    if ball <= weight then return not left_out[canary.service] and canary.service or nil end
  end
  return nil
end

local function with_endpoints(name)
  local service = name and store.get(name)
  return service and #service.peers > 0 and service or nil
end

-- The service that answers in the end: a canary or the standby of the one that the route names.
local function resolve(name)
  local service = store.get(name)
  if not service then return nil end
  if service.switched then return with_endpoints(service.standby) or service end
  if service.canaries then return with_endpoints(canary_of(service)) or service end
  return service
end

function M.access()
  local service = resolve(ngx.var.dromos_service)
  if not service then return refuse("Service unavailable", "This service is not known here any more.", 5) end
  local ctx = ngx.ctx
  ctx.service = service
  ctx.counted = metrics.begin(service)
  if closing then ngx.header["Connection"] = "close" end
  if service.maintenance then
    return refuse("Down for maintenance", "We are working on it. Please come back in a few minutes.", 120)
  end
  if #service.peers == 0 then
    return refuse("Service unavailable", "No instance of this service is ready. Please try again in a moment.", 5)
  end
end

local function hash_key(service)
  local kind, name = service.hash[1], service.hash[2]
  if kind == "uri" then return ngx.var.uri end
  if kind == "header" then
    local value = ngx.req.get_headers(100)[name]
    return type(value) == "table" and value[1] or value
  end
  if kind == "cookie" then return ngx.var["cookie_" .. name] end
  return ngx.var.remote_addr
end

function M.balance()
  local ctx = ngx.ctx
  local service = ctx.service
  if not service then -- a mirrored request: the access phase is not run for it
    service = resolve(ngx.var.dromos_service)
    if not service then return ngx.exit(ngx.ERROR) end
    ctx.service = service
  end
  local last = ctx.peer
  if last then
    if balancer.get_last_failure() == "failed" then health.failed(service, last) end
    if service.is_watched then pick.finish(service, last, nil) end
    ctx.tried = ctx.tried or {}
    ctx.tried[last.key] = true
  else
    local more = math.min(service.tries or 3, #service.peers * 2) - 1
    if more > 0 then balancer.set_more_tries(more) end
    if service.method == "hash" then ctx.hash_key = hash_key(service) end
    if service.sticky and service.sticky ~= "" then ctx.tag = ngx.var["cookie_" .. service.sticky] end
  end
  local peer = pick.choose(service, ctx.tried, ctx.hash_key, ctx.tag)
  ctx.peer = peer
  if not peer then return ngx.exit(ngx.ERROR) end
  if service.is_watched then pick.begin(service, peer) end
  local read = ngx.var.http_upgrade and service.upgraded or service.read
  balancer.set_timeouts(service.connect, service.send, read)
  local ok, problem = balancer.set_current_peer(peer.address, peer.port)
  if not ok then
    ngx.log(ngx.ERR, "endpoint ", peer.key, " of ", service.name, " cannot be used: ", problem)
    return ngx.exit(ngx.ERROR)
  end
end

-- The cookie that keeps a client at its endpoint; only in locations of sticky services.
function M.stick()
  local ctx = ngx.ctx
  local service, peer = ctx.service, ctx.peer
  if not (service and peer) or not service.sticky or service.sticky == "" or ctx.tag == peer.tag then return end
  local cookie = service.sticky .. "=" .. peer.tag .. "; Path=/; HttpOnly; SameSite=Lax"
  if ngx.var.dromos_proto == "https" then cookie = cookie .. "; Secure" end
  local given = ngx.header["Set-Cookie"]
  if type(given) == "table" then
    given[#given + 1] = cookie
    ngx.header["Set-Cookie"] = given
  elseif given then
    ngx.header["Set-Cookie"] = { given, cookie }
  else
    ngx.header["Set-Cookie"] = cookie
  end
end

local function last_of(list)
  return list and list:match("[^, ]+$")
end

local function count_tries(counted, addresses, statuses)
  local next_status = (statuses or ""):gmatch("[^, ]+")
  for address in (addresses or ""):gmatch("[^, ]+") do
    metrics.count_endpoint(counted, address, tonumber(next_status()) or 502)
  end
end

-- Statuses that the edge gives by itself when an endpoint does not answer, and perhaps an endpoint too.
local DOUBTFUL = { [499] = true, [500] = true, [502] = true, [503] = true, [504] = true }

function M.log()
  local ctx = ngx.ctx
  local service = ctx.service
  if not service then return end
  local peer, status = ctx.peer, ngx.status
  if peer then
    local answered = true
    if DOUBTFUL[status] or service.is_watched then answered = tonumber(last_of(ngx.var.upstream_header_time)) end
    if service.is_watched then pick.finish(service, peer, answered) end
    if answered then
      if peer.skip_until > 0 or peer.fails > 0 then health.succeeded(service, peer) end
    elseif status ~= 499 then
      health.failed(service, peer)
    end
  end
  local counted = ctx.counted
  if not counted then return end
  metrics.finish(counted, status, now() - start_time())
  if ctx.tried then
    count_tries(counted, ngx.var.upstream_addr, ngx.var.upstream_status)
  elseif peer then
    metrics.count_endpoint(counted, peer.key, status)
  end
end

return M
