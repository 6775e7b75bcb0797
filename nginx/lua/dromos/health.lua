-- Passive health: an endpoint that failed is skipped for a while, by all workers, then tried again.

local ngx = ngx
local table_dict = ngx.shared.dromos_table

local M = {}

local function key(service, peer)
  return "f|" .. service.name .. "|" .. peer.key
end

-- Gives the endpoints of a freshly parsed service the failures that are on record.
function M.load(service)
  service.skipped = 0 -- endpoints with a time in skip_until, past or not
  for _, peer in ipairs(service.peers) do
    peer.skip_until = table_dict:get(key(service, peer)) or 0
    peer.fails = 0
    if peer.skip_until > 0 then service.skipped = service.skipped + 1 end
  end
end

function M.is_failing(peer)
  return peer.skip_until > 0 and peer.skip_until > ngx.now()
end

function M.failed(service, peer)
  local most = service.max_fails or 1
  if most == 0 then return end
  peer.fails = peer.fails + 1
  -- One that was skipped before and fails again is on probation: a single failure is enough.
  if peer.fails < most and peer.skip_until == 0 then return end
  if M.is_failing(peer) then return end
  local seconds = service.fail_timeout or 5
  peer.fails = 0
  if peer.skip_until == 0 then service.skipped = service.skipped + 1 end
  peer.skip_until = ngx.now() + seconds
  table_dict:set(key(service, peer), peer.skip_until, seconds * 2)
  table_dict:incr("v|" .. service.name, 1, 0)
end

function M.succeeded(service, peer)
  peer.fails = 0
  if peer.skip_until > 0 and not M.is_failing(peer) then
    peer.skip_until = 0
    service.skipped = service.skipped - 1
    table_dict:delete(key(service, peer))
  end
end

return M
