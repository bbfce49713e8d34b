-- Enters a connection and applies the login policy. With order 0 it is a new claim, which wins against all
-- others. Otherwise it restores an entry that was lost, at its old place: the higher order wins. ARGV: life
-- in ms, most connections, "p" if each platform may have one, order, incarnation, sid, device, platform, then
-- the incarnations of dead nodes. Returns the order, the number of other connections that remain, then a line
-- for each connection that was removed, after "s" (stale: the same device) or "d" (displaced).
local dead = {}
for i = 9, #ARGV do dead[ARGV[i]] = true end
if not read(dead) then return redis.error_reply('FOREIGN value') end
local most, per_platform, order = tonumber(ARGV[2]), ARGV[3] == 'p', tonumber(ARGV[4])
local restores = order > 0
if not restores then order = math.max(last + 1, micros) end
last = math.max(last, order)
local own = {order = order, till = now + tonumber(ARGV[1]), incarnation = ARGV[5], sid = ARGV[6],
  device = ARGV[7], platform = ARGV[8]}
local place = find(own.sid)
if place then
  -- A later claim of the same connection must not be undone by restoring an earlier one.
  if lines[place].order > order then own = lines[place] end
  lines[place] = own
else
  place = #lines + 1
  while restores and place > 1 and lines[place - 1].order > order do place = place - 1 end
  table.insert(lines, place, own)
end

local devices, platforms, kept, why = {}, {}, 0, {}
local function decide(i)
  local l = lines[i]
  if devices[l.device] then
    why[i] = 's'
  elseif kept >= most or (per_platform and platforms[l.platform]) then
    why[i] = 'd'
  else
    devices[l.device], platforms[l.platform], kept = true, true, kept + 1
  end
end
if not restores then decide(place) end
for i = #lines, 1, -1 do
  if restores or i ~= place then decide(i) end
end

local stay, removed = {}, {}
for i, l in ipairs(lines) do
  if why[i] then
    removed[#removed + 1] = why[i] .. text(l)
  else
    stay[#stay + 1] = l
  end
end
lines = stay
write()
local out = {string.format('%.0f', own.order), find(own.sid) and kept - 1 or kept}
for _, line in ipairs(removed) do out[#out + 1] = line end
return out
