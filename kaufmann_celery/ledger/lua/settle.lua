-- What these outcomes asked for is in Kafka: finish them. The mark stays until a commit covers it.
-- What else a ledger that lost its tail may still hold of them goes too.
-- ARGV: generation, member, incarnation, offsets...
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return no end
for i = 4, #ARGV do
  drop(ARGV[i])
  redis.call('ZADD', KEYS[6], ARGV[i], ARGV[i])
end
return 'OK'
