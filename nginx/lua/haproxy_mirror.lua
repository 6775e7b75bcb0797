-- A copy of a request for a service that watches: sent beside the request, which does not wait for it, and its answer is thrown away.
--
-- HAProxy has no mirroring of its own. The copy goes in by a socket of HAProxy itself, so that the watching service's endpoints are balanced
-- and followed as all others are. DROMOS_MIRROR names that socket.

local socket = os.getenv("DROMOS_MIRROR")

local MOST = 512 -- copies under way in a thread; those past it are not made: a service that hangs must cost nobody else
local SECONDS = 10
local WHOLE = 12000 -- bytes of a request that is in HAProxy's buffer (16 KiB) as a whole, where its length is not told

-- Of the connection alone, or made anew.
local LEFT_OUT = { ["connection"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["expect"] = true, ["upgrade"] = true,
  ["keep-alive"] = true, ["te"] = true, ["trailer"] = true, ["x-dromos-mirror"] = true }

local under_way = 0

local function send(text)
  local connection = core.tcp()
  connection:settimeout(SECONDS)
  if connection:connect("unix@" .. socket) then
    connection:send(text)
    connection:receive("*a")
  end
  connection:close()
end

core.register_action("dromos_mirror", { "http-req" }, function(txn, backend)
  if under_way >= MOST or txn.sf:req_hdr("upgrade") ~= "" then return end
  local length = tonumber(txn.sf:req_body_size()) or 0
  local body = length > 0 and txn.sf:req_body() or ""
  if #body < length then return end -- it does not fit in HAProxy's buffer: half a request is none
  local parts = { txn.sf:method(), " ", txn.sf:pathq(), " HTTP/1.1\r\n" }
  for name, values in pairs(txn.http:req_get_headers()) do
    if not LEFT_OUT[name] then
      for _, value in pairs(values) do parts[#parts + 1] = name .. ": " .. value .. "\r\n" end
    end
  end
  parts[#parts + 1] = "x-dromos-mirror: " .. backend .. "\r\nconnection: close\r\n"
  if #body > 0 then parts[#parts + 1] = "content-length: " .. #body .. "\r\n" end
  parts[#parts + 1] = "\r\n" .. body
  local text = table.concat(parts)
  if length > 0 and #text > WHOLE and txn.sf:req_hdr("content-length") == "" then return end
  under_way = under_way + 1
  core.register_task(function()
    pcall(send, text)
    under_way = under_way - 1
  end)
end, 1)
