-- Kafka has acknowledged a commit: drop the marks it covers, and keep the ledger from expiring.
-- ARGV: generation, member, incarnation, ttl_s, committed offset, highest finished offset, unfinished offsets...
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return no end
local committed, highest, unfinished = tonumber(ARGV[5]), tonumber(ARGV[6]), {}
for i = 7, #ARGV do unfinished[ARGV[i]] = true end
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', '(' .. ARGV[5])
for _, offset in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], committed, highest)) do
  if not unfinished[offset] then redis.call('ZREM', KEYS[6], offset) end
end
for i = 1, 9 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
return 'OK'
