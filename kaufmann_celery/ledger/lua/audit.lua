-- What the ledger holds, for the owner to compare with its memory.
-- ARGV: generation, member, incarnation. Returns claims, leased offsets, outcomes, marks.
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return {no} end
return {'OK', redis.call('HKEYS', KEYS[2]), redis.call('HKEYS', KEYS[3]), redis.call('HKEYS', KEYS[5]), redis.call('ZRANGE', KEYS[6], 0, -1)}
