-- Removes the entry of a connection. ARGV: sid. Returns 1 if it was there, otherwise 0, and the number of the
-- user's connections that remain.
if not read({}) then return redis.error_reply('FOREIGN value') end
local at = find(ARGV[1])
if not at then return {0, #lines} end
table.remove(lines, at)
write()
return {1, #lines}
