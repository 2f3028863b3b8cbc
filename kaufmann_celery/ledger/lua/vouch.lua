-- A worker's main process says that the child in which this run goes on lives. Prolongs it, and brings nothing back:
-- what has ended, expired or never begun has no entry. The nonce stays, for begin may have to be made again.
-- ARGV: incarnation, run, lease_ms. Returns whether there is such a run (1/0).
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return 0 end
local entry = redis.call('HGET', KEYS[4], ARGV[2])
if not entry then return 0 end
local size, nonce = entry:match('^%d+ (%d+) %d+ %d (%S+)$')
put('HSET', 4, ARGV[2], run_entry(now_ms() + ARGV[3], size, ARGV[3], 0, nonce))
return 1
