-- Certificates by SNI, from a shared dict: a new one needs no reload.

local cjson = require "cjson.safe"
local ssl = require "ngx.ssl"

local ngx = ngx
local dict = ngx.shared.dromos_certificates

local M = {}

local cache = {} -- of this worker: host -> {version = …, chain = …, key = …}

-- `bundle`: {counter, certificates = {host = pem}}. Returns true, or nil and "late", "memory" or "bad".
function M.apply(bundle)
  if type(bundle) ~= "table" or type(bundle.counter) ~= "number" or type(bundle.certificates) ~= "table" then return nil, "bad" end
  if bundle.counter <= (dict:get("counter") or 0) then return nil, "late" end
  for host, pem in pairs(bundle.certificates) do
    if not dict:safe_set("c|" .. host, pem) then return nil, "memory" end
    dict:incr("v|" .. host, 1, 0)
  end
  for _, key in ipairs(dict:get_keys(0)) do
    if key:sub(1, 2) == "c|" and not bundle.certificates[key:sub(3)] then
      dict:delete(key)
      dict:delete("v|" .. key:sub(3))
    end
  end
  dict:set("counter", bundle.counter)
  return true
end

function M.counter()
  return dict:get("counter") or 0
end

function M.load(path)
  local file = io.open(path, "rb")
  if not file then return end
  local bundle = cjson.decode(file:read("*a"))
  file:close()
  local done, problem = M.apply(bundle)
  if not done and problem ~= "late" then ngx.log(ngx.ERR, "the certificates in ", path, " were not taken: ", problem) end
end

local function parsed(host)
  local version = dict:get("v|" .. host)
  if not version then
    cache[host] = nil
    return nil
  end
  local known = cache[host]
  if known and known.version == version then return known end
  local pem = dict:get("c|" .. host)
  local chain, chain_problem = ssl.parse_pem_cert(pem)
  local key, key_problem = ssl.parse_pem_priv_key(pem)
  if not chain or not key then
    ngx.log(ngx.ERR, "the certificate of ", host, " cannot be used: ", chain_problem or key_problem)
    return known
  end
  cache[host] = { version = version, chain = chain, key = key }
  return cache[host]
end

local function find(name)
  if not name then return parsed("_default") end
  name = name:lower()
  local found = parsed(name)
  local rest = name
  while not found do
    rest = rest:match("^[^.]+%.(.+)$")
    if not rest then return parsed("_default") end
    found = parsed("*." .. rest)
  end
  return found
end

-- Leaves the placeholder in place where there is nothing better.
function M.choose()
  local certificate = find(ssl.server_name())
  if not certificate then return end
  ssl.clear_certs()
  ssl.set_cert(certificate.chain)
  ssl.set_priv_key(certificate.key)
end

return M
