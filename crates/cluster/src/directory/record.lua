-- The record of a user: the value of one key. Its first line has the version and the number of the last
-- claim; then there is a line for each connection, oldest first, whose fields are separated by tabs: order,
-- time of expiry (ms), incarnation, sid, device, platform.
local clock = redis.call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)
local last, lines = 0, {}
local LINE = '^(%d+)\t(%d+)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$'

-- Reads the record, without the entries that have expired or belong to a node in `dead`. Returns false if the
-- value is not a record.
local function read(dead)
  local value = redis.pcall('GET', KEYS[1])
  if not value then return true end
  if type(value) ~= 'string' then return false end
  local head, rest = string.match(value, '^mynah1 (%d+)\n(.*)$')
  if not head then return false end
  last = tonumber(head)
  for text in string.gmatch(rest, '([^\n]+)\n') do
    local order, till, incarnation, sid, device, platform = string.match(text, LINE)
    if not order then return false end
    till = tonumber(till)
    if till > now and not dead[incarnation] then
      lines[#lines + 1] = {order = tonumber(order), till = till, incarnation = incarnation, sid = sid,
        device = device, platform = platform}
    end
  end
  return true
end

local function text(l)
  return string.format('%.0f\t%.0f\t', l.order, l.till) ..
    table.concat({l.incarnation, l.sid, l.device, l.platform}, '\t')
end

-- Writes the record. The key expires with its last entry.
local function write()
  if #lines == 0 then
    redis.call('DEL', KEYS[1])
    return
  end
  local out, till = {string.format('mynah1 %.0f', last)}, 0
  for i, l in ipairs(lines) do
    out[i + 1] = text(l)
    till = math.max(till, l.till)
  end
  out[#out + 1] = ''
  redis.call('SET', KEYS[1], table.concat(out, '\n'), 'PX', string.format('%.0f', till - now))
end

local function find(sid)
  for i, l in ipairs(lines) do
    if l.sid == sid then return i end
  end
end
