-- Extends the life of an entry. ARGV: life in ms, sid, order. Returns 0 if the entry is gone, otherwise 1.
if not read({}) then return redis.error_reply('FOREIGN value') end
local at = find(ARGV[2])
if not at or lines[at].order < tonumber(ARGV[3]) then return 0 end
lines[at].till = now + tonumber(ARGV[1])
write()
return 1
