-- The status port: numbers for Prometheus, JSON for programs, a page for people. It answers while the daemon is away.

local cjson = require "cjson.safe"
local edge = require "dromos.edge"
local metrics = require "dromos.metrics"
local store = require "dromos.store"

local ngx = ngx

local M = {}

function M.metrics()
  ngx.header["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
  ngx.print(metrics.prometheus())
end

function M.json()
  ngx.header["Content-Type"] = "application/json"
  ngx.print(cjson.encode(metrics.json()))
end

function M.health()
  ngx.header["Content-Type"] = "application/json"
  ngx.print(cjson.encode({ healthy = true, generation = edge.generation, counter = store.counter() }))
end

local function state()
  local services = metrics.json().services
  local list = {}
  for name, numbers in pairs(services) do
    local known = store.get(name)
    local endpoints = {}
    for _, peer in ipairs(known and known.peers or {}) do
      endpoints[#endpoints + 1] = {
        endpoint = peer.key,
        weight = peer.weight,
        failing = peer.skip_until > ngx.now(),
        requests = numbers.endpoints[peer.key],
      }
    end
    list[#list + 1] = {
      name = name,
      app = numbers.app,
      known = known ~= nil,
      maintenance = known and known.maintenance or false,
      switched = known and known.switched or false,
      active = numbers.active,
      requests = numbers.requests,
      seconds = { sum = numbers.seconds.sum, count = numbers.seconds.count },
      endpoints = endpoints,
    }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return {
    generation = edge.generation,
    counter = store.counter(),
    start = metrics.json().start,
    services = list,
  }
end

local HEAD = [[<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Dromos edge</title><style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0 0 .2rem}p{margin:.2rem 0 1.2rem;opacity:.75}
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .7rem;text-align:right;border-bottom:1px solid #8884;vertical-align:top}
th{font-weight:600;font-size:.82rem;opacity:.75}th:first-child,td:first-child,td.l,th.l{text-align:left}
code{font-size:.86rem}.bad{color:#c22;font-weight:600}.note{font-size:.82rem;opacity:.75}
</style></head><body>
]]

local function escaped(text)
  return (tostring(text):gsub("[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

local function row(service)
  local errors, total = service.requests["5xx"] or 0, 0
  for _, count in pairs(service.requests) do total = total + count end
  local mean = service.seconds.count > 0 and ("%.1f ms"):format(service.seconds.sum / service.seconds.count * 1000) or "–"
  local lines = {}
  for _, one in ipairs(service.endpoints) do
    local tries = 0
    for _, count in pairs(one.requests or {}) do tries = tries + count end
    lines[#lines + 1] = ("<code>%s</code> <span class=\"note\">%d tries</span>%s"):format(
      escaped(one.endpoint), tries, one.failing and ' <span class="bad">skipped: it failed</span>' or "")
  end
  local notes = (service.maintenance and ' <span class="bad">maintenance</span>' or "")
    .. (service.switched and ' <span class="bad">switched to its standby</span>' or "")
  return ('<tr><td><b>%s</b>%s<br><span class="note">%s</span></td><td>%d</td><td%s>%d</td><td>%s</td><td>%d</td><td class="l">%s</td></tr>\n'):format(
    escaped(service.name), notes, escaped(service.app), total, errors > 0 and ' class="bad"' or "", errors, mean, service.active,
    #lines > 0 and table.concat(lines, "<br>") or '<span class="bad">none: answers 503</span>')
end

local function page(now)
  local out = { HEAD, "<h1>Dromos edge</h1>\n" }
  out[#out + 1] = ("<p>%d services · configuration %d · table of endpoints %d · up for %d s · %d connections</p>\n"):format(
    #now.services, now.generation, now.counter, math.max(0, ngx.time() - now.start), tonumber(ngx.var.connections_active) or 0)
  out[#out + 1] = '<table><thead><tr><th>Service</th><th>Requests</th><th>5xx</th><th>Mean time</th><th>Under way</th>'
    .. '<th class="l">Endpoints</th></tr></thead><tbody>\n'
  for _, service in ipairs(now.services) do out[#out + 1] = row(service) end
  out[#out + 1] = "</tbody></table></body></html>\n"
  return table.concat(out)
end

-- Debian's cjson writes an empty table as {}. Within a text the quotes would be escaped, so these are the lists themselves.
local function as_json(now)
  return (cjson.encode(now):gsub('"endpoints":{}', '"endpoints":[]'):gsub('"services":{}', '"services":[]'))
end

function M.status()
  local now = state()
  ngx.header["Vary"] = "Accept"
  if (ngx.var.http_accept or ""):find("text/html", 1, true) then
    ngx.header["Content-Type"] = "text/html; charset=utf-8"
    ngx.print(page(now))
  else
    ngx.header["Content-Type"] = "application/json"
    ngx.print(as_json(now))
  end
end

return M
