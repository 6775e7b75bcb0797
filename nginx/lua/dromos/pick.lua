-- Which endpoint takes a request. State is a worker's own, as with Nginx's own balancing.

local health = require "dromos.health"
local metrics = require "dromos.metrics"

local ngx = ngx
local random = math.random
local crc32 = ngx.crc32_long
local log = math.log

local EWMA_DECAY = 10 -- seconds after which an old measurement counts 1/e

local M = {}

local in_flight = {} -- service -> endpoint -> requests of this worker under way
local latency = {}   -- service -> endpoint -> {value, at}
local gone_at = {}   -- service -> smooth round robin's current weights

local function of(map, name)
  local found = map[name]
  if not found then
    found = {}
    map[name] = found
  end
  return found
end

function M.prepare(service)
  local equal, present = true, {}
  service.counts = metrics.counts_of(service.name)
  for _, peer in ipairs(service.peers) do
    if peer.weight ~= service.peers[1].weight then equal = false end
    peer.tag = ngx.md5(service.name .. peer.key):sub(1, 16)
    peer.counts = metrics.endpoint(service.counts, peer.key)
    present[peer.key] = true
  end
  service.equal_weights = equal
  service.more_tries = math.min(service.tries or 3, #service.peers * 2) - 1
  service.is_hashed = service.method == "hash"
  service.is_sticky = (service.sticky or "") ~= ""
  service.is_watched = service.method == "least_conn" or service.method == "ewma" -- what is under way there counts
  service.turn = #service.peers > 0 and random(#service.peers) or 0
  metrics.keep(service.counts, present)
  for _, map in ipairs({ latency, gone_at }) do
    for key in pairs(of(map, service.name)) do
      if not present[key] then map[service.name][key] = nil end
    end
  end
end

function M.begin(service, peer)
  local map = of(in_flight, service.name)
  map[peer.key] = (map[peer.key] or 0) + 1
end

-- `seconds` is nil where the endpoint did not answer.
function M.finish(service, peer, seconds)
  local map = of(in_flight, service.name)
  local left = (map[peer.key] or 1) - 1
  map[peer.key] = left > 0 and left or nil
  if service.method == "ewma" then
    local known = of(latency, service.name)
    local now = ngx.now()
    local measured = seconds or 10
    local before = known[peer.key]
    if before then
      local keep = math.exp(-(now - before.at) / EWMA_DECAY)
      -- A peak counts at once, its decay takes time.
      before.value = measured > before.value and measured or before.value * keep + measured * (1 - keep)
      before.at = now
    else
      known[peer.key] = { value = measured, at = now }
    end
  end
end

local function round_robin(service, candidates)
  if service.equal_weights then
    service.turn = service.turn % 1000000007 + 1
    return candidates[service.turn % #candidates + 1]
  end
  local current, total, best, best_weight = of(gone_at, service.name), 0, nil, nil
  for _, peer in ipairs(candidates) do
    local weight = (current[peer.key] or 0) + peer.weight
    current[peer.key] = weight
    total = total + peer.weight
    if not best or weight > best_weight then best, best_weight = peer, weight end
  end
  current[best.key] = best_weight - total
  return best
end

local function least_conn(service, candidates)
  local map, best, best_load = of(in_flight, service.name), nil, nil
  local start = random(#candidates)
  for i = 1, #candidates do
    local peer = candidates[(start + i) % #candidates + 1]
    local load = ((map[peer.key] or 0) + 1) / peer.weight
    if not best or load < best_load then best, best_load = peer, load end
  end
  return best
end

local function ewma_score(service, peer)
  local known = of(latency, service.name)[peer.key]
  local value = 0
  if known then value = known.value * math.exp(-(ngx.now() - known.at) / EWMA_DECAY) end
  return (value + 0.0001) * ((of(in_flight, service.name)[peer.key] or 0) + 1) / peer.weight
end

-- The better of two at random: as good as the best of all, and no herd runs to the one that was best a moment ago.
local function ewma(service, candidates)
  local n = #candidates
  if n == 1 then return candidates[1] end
  local first = random(n)
  local second = (first + random(n - 1) - 1) % n + 1
  local a, b = candidates[first], candidates[second]
  return ewma_score(service, a) <= ewma_score(service, b) and a or b
end

-- Weighted rendezvous hashing: when an endpoint comes or goes, only its own share of the keys moves.
local function hash(service, candidates, key)
  local best, best_score
  for _, peer in ipairs(candidates) do
    local share = (crc32(key .. "|" .. peer.key) + 1) / 4294967297
    local score = -peer.weight / log(share)
    if not best or score > best_score then best, best_score = peer, score end
  end
  return best
end

local METHODS = { round_robin = round_robin, least_conn = least_conn, ewma = ewma, hash = hash }

local function candidates_of(service, tried)
  local peers = service.peers
  -- As nearly always. LuaJIT compiles no function with a loop in its way, so the loops below are kept out of this one's.
  if not tried and service.skipped == 0 then return peers end
  local found = {}
  for _, peer in ipairs(peers) do
    if not (tried and tried[peer.key]) and not health.is_failing(peer) then found[#found + 1] = peer end
  end
  if #found > 0 then return found end
  -- All of them fail or were tried: one that fails is a better try than none, a second try than giving up.
  for _, peer in ipairs(peers) do
    if not (tried and tried[peer.key]) then found[#found + 1] = peer end
  end
  return #found > 0 and found or peers
end

-- `tried`: endpoint keys of this request's earlier tries; `key`: what to hash; `tag`: a sticky cookie's value.
function M.choose(service, tried, key, tag)
  if #service.peers == 0 then return nil end
  local candidates = candidates_of(service, tried)
  if tag then
    for _, peer in ipairs(candidates) do
      if peer.tag == tag then return peer end
    end
  end
  local method = METHODS[service.method] or round_robin
  if method == hash and not key then method = round_robin end
  return method(service, candidates, key)
end

return M
