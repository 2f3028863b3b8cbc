-- The owner itself says what became of events that no worker runs: undecodable, died too often, refused by Kafka.
-- ARGV: generation, member, incarnation, then offset, outcome pairs. An outcome already there is replaced.
-- Returns the offsets refused because a worker runs them now, or because they are finished.
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return {no} end
local result = {'OK'}
for i = 4, #ARGV, 2 do
  local offset = ARGV[i]
  if redis.call('HEXISTS', KEYS[3], offset) == 1 or redis.call('ZSCORE', KEYS[6], offset) then
    result[#result + 1] = offset
  else
    drop({offset})
    put('HSET', 5, offset, ARGV[i + 1])
  end
end
return result
