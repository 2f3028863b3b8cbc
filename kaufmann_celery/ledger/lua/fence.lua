-- Shared by every script of an owner. Is this caller still the owner of this ledger?
-- The token is the consumer group's generation: Kafka hands it out, so it can only grow.
local function refused(generation, member, incarnation)
  local owner = redis.call('HMGET', KEYS[1], 'generation', 'member', 'incarnation')
  if owner[3] ~= incarnation then return 'LOST' end
  local theirs = tonumber(owner[1])
  if generation < theirs or (generation == theirs and member ~= owner[2]) then return 'FENCED' end
  if generation > theirs then redis.call('HSET', KEYS[1], 'generation', generation, 'member', member) end
  return false
end

-- These events are finished: what their outcomes asked for is in Kafka. The mark stays until a commit covers it.
-- What else a ledger that lost its tail may still hold of them goes too.
local function settle(offsets)
  if #offsets == 0 then return end
  local marks = {}
  for _, offset in ipairs(offsets) do
    marks[#marks + 1] = offset
    marks[#marks + 1] = offset
  end
  drop(offsets)
  redis.call('ZADD', KEYS[6], unpack(marks))
end
