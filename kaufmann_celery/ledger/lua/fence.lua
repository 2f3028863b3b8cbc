-- Shared by every script of an owner. Is this caller still the owner of this ledger?
-- The token is the consumer group's generation: Kafka hands it out, so it can only grow.
local function refused(generation, member, incarnation)
  local owner = redis.call('HMGET', KEYS[1], 'generation', 'member', 'incarnation')
  if owner[3] ~= incarnation then return 'LOST' end
  local theirs = tonumber(owner[1])
  if generation < theirs or (generation == theirs and member ~= owner[2]) then return 'FENCED' end
  if generation > theirs then put('HSET', 1, 'generation', generation, 'member', member) end
  return false
end
