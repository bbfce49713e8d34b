-- Extends the life of an entry. ARGV: life in ms, sid, order.
-- Returns 0 if the entry is gone, 2 if it is the user's oldest one, 1 otherwise.
if not read({}) then return redis.error_reply('FOREIGN value') end
local at = find(ARGV[2])
if not at or lines[at].order < tonumber(ARGV[3]) then return 0 end
lines[at].till = now + tonumber(ARGV[1])
write()
return at == 1 and 2 or 1
