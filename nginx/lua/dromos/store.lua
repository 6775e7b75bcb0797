-- The table of services and endpoints that all workers share.
--
-- The daemon numbers every change with a counter, never with a clock: two changes in one tick of a clock stay two changes, and a
-- late one is seen to be late. Each service has a version of its own, so that a worker parses again only what changed.

local cjson = require "cjson.safe"
local health = require "dromos.health"
local pick = require "dromos.pick"

local ngx = ngx
local table_dict = ngx.shared.dromos_table
local LOCK_SECONDS = 10

local M = {}

local now = ngx.now
local cache = {}  -- of this worker: service name -> {version = …, service = …, looked = when}

local function parse(name, text)
  local doc = cjson.decode(text)
  if type(doc) ~= "table" then return nil end
  doc.name = name
  local peers = {}
  for _, entry in ipairs(doc.endpoints or {}) do
    local address, port, weight = entry[1], entry[2], entry[3] or 1
    local host = address:find(":", 1, true) and "[" .. address .. "]" or address
    if weight > 0 then
      peers[#peers + 1] = { address = host, port = port, weight = weight, key = host .. ":" .. port }
    end
  end
  doc.peers = peers
  health.load(doc)
  pick.prepare(doc)
  return doc
end

-- The service of that name as it is now, or nil. Within one millisecond of Nginx' clock a worker looks once.
function M.get(name)
  local at = now()
  local known = cache[name]
  if known and known.looked == at then return known.service end
  local version = table_dict:get("v|" .. name)
  if not version then
    cache[name] = nil
    return nil
  end
  if known and known.version == version then
    known.looked = at
    return known.service
  end
  local text = table_dict:get("s|" .. name)
  local service = text and parse(name, text)
  if not service then return known and known.service end
  cache[name] = { version = version, service = service, looked = at }
  return service
end

-- Makes every worker look at a service again.
function M.touch(name)
  table_dict:incr("v|" .. name, 1, 0)
end

function M.counter()
  return table_dict:get("counter") or 0
end

function M.names()
  local names = {}
  for _, key in ipairs(table_dict:get_keys(0)) do
    if key:sub(1, 2) == "s|" then names[#names + 1] = key:sub(3) end
  end
  table.sort(names)
  return names
end

-- `change`: {counter, full, services = {name = {…}}, remove = {name, …}}. Returns true, or nil and "late", "busy", "memory" or "bad".
function M.apply(change)
  if type(change) ~= "table" or type(change.counter) ~= "number" or type(change.services) ~= "table" then
    return nil, "bad"
  end
  if not table_dict:add("lock", 1, LOCK_SECONDS) then return nil, "busy" end
  local done, problem = M.apply_locked(change)
  table_dict:delete("lock")
  return done, problem
end

function M.apply_locked(change)
  if change.counter <= M.counter() then return nil, "late" end
  for name, doc in pairs(change.services) do
    local ok = table_dict:safe_set("s|" .. name, cjson.encode(doc))
    if not ok then return nil, "memory" end
    table_dict:incr("v|" .. name, 1, 0)
  end
  local gone = type(change.remove) == "table" and change.remove or {}
  if change.full then
    gone = {}
    for _, name in ipairs(M.names()) do
      if not change.services[name] then gone[#gone + 1] = name end
    end
  end
  for _, name in ipairs(gone) do
    table_dict:delete("v|" .. name)
    table_dict:delete("s|" .. name)
  end
  table_dict:set("counter", change.counter)
  return true
end

-- Before the first request after a start or reload: the last table that the daemon wrote. A table in memory that is newer stays.
function M.load(path)
  local file = io.open(path, "rb")
  if not file then return end
  local text = file:read("*a")
  file:close()
  local change = cjson.decode(text)
  if type(change) ~= "table" then
    ngx.log(ngx.ERR, "the endpoints in ", path, " cannot be read")
    return
  end
  change.full = true
  table_dict:delete("lock")
  local done, problem = M.apply(change)
  if not done and problem ~= "late" then ngx.log(ngx.ERR, "the endpoints in ", path, " were not taken: ", problem) end
end

return M
