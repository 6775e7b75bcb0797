-- A request's way through the edge: which service and endpoint (balance), what came of it (log). Two short visits to Lua a request,
-- neither of them in a coroutine: that is what keeps the edge near a static configuration.

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
local chosen -- the context of the request that was given an endpoint last, until another one is refused

local DEFAULT = { connect = 2, send = 60, read = 60 } -- seconds, as lua.conf.j2 has them

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

-- Where Nginx cannot even open a connection to the endpoint (it has as many as it may), the request comes from `use` to the page for
-- a 500 with nothing in between, without its context: so it is the one chosen last, and its last try has no address.
local function finish_unconnected()
  local tried = ngx.var.upstream_addr
  if not chosen or not tried or not (tried == "" or tried:find(": ?$")) then return end
  local peer = chosen.peer
  if chosen.service.is_watched then pick.finish(chosen.service, peer, nil) end
  metrics.finish(chosen.counted, peer.counts, 500, now() - start_time())
  chosen = nil
end

-- What the balancer turned away (as a 500) or failed at: the page that says why. The request's ngx.ctx is not that of before.
function M.refused()
  finish_unconnected()
  local service = resolve(ngx.var.dromos_service)
  if service and #service.peers > 0 and not service.maintenance then return ngx.exit(500) end
  if not service then return refuse("Service unavailable", "This service is not known here any more.", 5) end
  ngx.ctx.service, ngx.ctx.counted = service, metrics.begin(service)
  if service.maintenance then
    return refuse("Down for maintenance", "We are working on it. Please come back in a few minutes.", 120)
  end
  return refuse("Service unavailable", "No instance of this service is ready. Please try again in a moment.", 5)
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

local function use(service, peer)
  local read = service.read
  if ngx.var.dromos_connection ~= "" then read = service.upgraded end
  if read ~= DEFAULT.read or service.connect ~= DEFAULT.connect or service.send ~= DEFAULT.send then
    balancer.set_timeouts(service.connect, service.send, read)
  end
  local ok, problem = balancer.set_current_peer(peer.address, peer.port)
  if not ok then ngx.log(ngx.ERR, "endpoint ", peer.key, " of ", service.name, " cannot be used: ", problem) end
  return ok
end

-- The first try of a request.
local function first(ctx)
  local service = resolve(ngx.var.dromos_service)
  chosen = nil
  if not service or service.maintenance or #service.peers == 0 then return ngx.exit(ngx.ERROR) end
  if closing then ngx.header["Connection"] = "close" end
  if service.more_tries > 0 then balancer.set_more_tries(service.more_tries) end
  local tag, key
  if service.is_hashed then key = hash_key(service) end
  if service.is_sticky then tag = ngx.var["cookie_" .. service.sticky] end
  local peer = pick.choose(service, nil, key, tag)
  if not use(service, peer) then return ngx.exit(ngx.ERROR) end
  ctx.service, ctx.peer, ctx.hash_key, ctx.tag, ctx.counted = service, peer, key, tag, metrics.begin(service, peer.counts)
  chosen = ctx
  if service.is_watched then pick.begin(service, peer) end
end

-- A further one, after an endpoint that failed or gave an answer that is worth another try.
local function again(ctx)
  local service, last = ctx.service, ctx.peer
  if balancer.get_last_failure() == "failed" then health.failed(service, last) end
  if service.is_watched then pick.finish(service, last, nil) end
  ctx.tried = ctx.tried or {}
  ctx.tried[last.key] = true
  local peer = pick.choose(service, ctx.tried, ctx.hash_key, ctx.tag)
  chosen = nil
  if not use(service, peer) then
    metrics.finish(ctx.counted, last.counts, 500, now() - start_time()) -- what comes next knows nothing of it
    return ngx.exit(ngx.ERROR)
  end
  peer.counts = metrics.endpoint(ctx.counted, peer.key) -- this request's table may be an old one, and the endpoint have been away since
  metrics.move(ctx.counted, last.counts, peer.counts)
  ctx.peer, chosen = peer, ctx
  if service.is_watched then pick.begin(service, peer) end
end

function M.balance()
  local ctx = ngx.ctx
  if ctx.peer then return again(ctx) end
  return first(ctx)
end

-- A copy of a request, whose answer nobody waits for and nobody counts.
function M.balance_mirror()
  chosen = nil
  local service = resolve(ngx.var.dromos_service)
  local peer = service and pick.choose(service)
  if not peer or not use(service, peer) then return ngx.exit(ngx.ERROR) end
end

-- The cookie that keeps a client at its endpoint; only in locations of sticky services.
function M.stick()
  local ctx = ngx.ctx
  local service, peer = ctx.service, ctx.peer
  if not (service and peer) or not service.sticky or service.sticky == "" or ctx.tag == peer.tag then return end
  local cookie = service.sticky .. "=" .. peer.tag .. "; Path=/; HttpOnly; SameSite=Lax"
  if (ngx.var.dromos_proto or ngx.var.scheme) == "https" then cookie = cookie .. "; Secure" end
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
    metrics.count_endpoint(counted, metrics.endpoint(counted, address), tonumber(next_status()) or 502)
  end
end

-- Statuses that the edge gives by itself when an endpoint does not answer, and perhaps an endpoint too.
local DOUBTFUL = { [499] = true, [500] = true, [502] = true, [503] = true, [504] = true }

function M.log()
  local ctx = ngx.ctx
  local service, peer, status = ctx.service, ctx.peer, ngx.status
  if not service then return end
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
  if ctx.tried then
    count_tries(counted, ngx.var.upstream_addr, ngx.var.upstream_status)
  elseif peer then
    metrics.count_endpoint(counted, peer.counts, status)
  end
  metrics.finish(counted, peer and peer.counts, status, now() - start_time())
end

return M
