-- The daemon's way in: a unix socket below the state directory, and a token that only its files and this process know.

local cjson = require "cjson.safe"
local certificates = require "dromos.certificates"
local edge = require "dromos.edge"
local store = require "dromos.store"

local ngx = ngx
local control_dict = ngx.shared.dromos_control

local M = {}

local token

function M.init(path)
  local file = io.open(path, "rb")
  token = file and file:read("*l")
  if file then file:close() end
end

local function answer(status, body)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.print(cjson.encode(body))
  return ngx.exit(status)
end

local function body()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if not text then
    local path = ngx.req.get_body_file()
    local file = path and io.open(path, "rb")
    text = file and file:read("*a")
    if file then file:close() end
  end
  return text and cjson.decode(text)
end

local PROBLEMS = { late = 409, busy = 503, memory = 507, bad = 400 }

local function endpoints()
  local done, problem = store.apply(body())
  if not done then return answer(PROBLEMS[problem] or 500, { error = problem, counter = store.counter() }) end
  return answer(200, { counter = store.counter() })
end

local function take_certificates()
  local done, problem = certificates.apply(body())
  if not done then return answer(PROBLEMS[problem] or 500, { error = problem, counter = certificates.counter() }) end
  return answer(200, { counter = certificates.counter() })
end

-- Workers of that configuration end each connection with its next answer, so that a reload after it cuts no request off.
local function closing()
  local change = body()
  if type(change) ~= "table" or type(change.generation) ~= "number" then return answer(400, { error = "bad" }) end
  control_dict:set("closing", change.generation)
  return answer(200, {})
end

function M.handle()
  if not token or token == "" or ngx.var.http_authorization ~= "Bearer " .. token then
    return answer(401, { error = "token" })
  end
  local what = ngx.req.get_method() .. " " .. ngx.var.uri
  if what == "GET /state" then
    return answer(200, { generation = edge.generation, counter = store.counter(), certificates = certificates.counter() })
  elseif what == "POST /endpoints" then
    return endpoints()
  elseif what == "POST /certificates" then
    return take_certificates()
  elseif what == "POST /closing" then
    return closing()
  end
  return answer(404, { error = "unknown" })
end

return M
