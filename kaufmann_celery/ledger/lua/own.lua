-- Take the partition over. Drops what Kafka's commit already holds as finished.
-- ARGV: generation, member, wake channel, incarnation in the commit ('' = none), a fresh incarnation, ttl_s,
--       committed offset, highest finished offset (-1 = none), then the unfinished offsets between the two
local generation, member, known, fresh = tonumber(ARGV[1]), ARGV[2], ARGV[4], ARGV[5]
local owner = redis.call('HMGET', KEYS[1], 'generation', 'member', 'incarnation')
if owner[3] ~= known then
  -- Another history of these offsets (the group was reset, or its commit carries no incarnation yet), or what is
  -- left of one whose owner has expired.
  for i = 1, 8 do redis.call('DEL', KEYS[i]) end
  owner = {false, false, false}
end
if owner[1] and (generation < tonumber(owner[1]) or (generation == tonumber(owner[1]) and member ~= owner[2])) then
  return {'FENCED'}
end
local incarnation = owner[3] or (known ~= '' and known) or fresh
redis.call('HSET', KEYS[1], 'generation', generation, 'member', member, 'wake', ARGV[3], 'incarnation', incarnation)

local committed, highest, unfinished = tonumber(ARGV[7]), tonumber(ARGV[8]), {}
for i = 9, #ARGV do unfinished[ARGV[i]] = true end
local function finished(offset)
  local n = tonumber(offset)
  return n < committed or (n <= highest and not unfinished[offset])
end
for _, key in ipairs({2, 3, 5, 8}) do
  for _, offset in ipairs(redis.call('HKEYS', KEYS[key])) do
    if finished(offset) then redis.call('HDEL', KEYS[key], offset) end
  end
end
for _, key in ipairs({6, 7}) do
  for _, offset in ipairs(redis.call('ZRANGE', KEYS[key], 0, -1)) do
    if finished(offset) then redis.call('ZREM', KEYS[key], offset) end
  end
end
for i = 1, 8 do redis.call('EXPIRE', KEYS[i], ARGV[6]) end
return {'OK', incarnation, redis.call('HKEYS', KEYS[2]), redis.call('HKEYS', KEYS[5]), redis.call('ZRANGE', KEYS[6], 0, -1)}
