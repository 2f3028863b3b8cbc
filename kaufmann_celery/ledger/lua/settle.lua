-- What these outcomes asked for is in Kafka: finish them. The mark stays until a commit covers it.
-- What else a ledger that lost its tail may still hold of them goes too.
-- ARGV: generation, member, incarnation, offsets...
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return no end
local offsets, marks = every(4, 1), {}
for _, offset in ipairs(offsets) do
  marks[#marks + 1] = offset
  marks[#marks + 1] = offset
end
drop(offsets)
if #offsets > 0 then
  redis.call('ZADD', KEYS[6], unpack(marks))
end
return 'OK'
