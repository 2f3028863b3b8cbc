-- Take the partition over. Drops what Kafka's commit already holds as finished.
-- ARGV: generation, member, wake channel, incarnation in the commit ('' = none yet), the question after which Kafka took
--       that commit from us ('' = none), the next question, ttl_s,
--       committed offset, highest finished offset (-1 = none), then the unfinished offsets between the two
local generation, member, incarnation, vouched = tonumber(ARGV[1]), ARGV[2], ARGV[4], ARGV[5]
local owner = redis.call('HMGET', KEYS[1], 'generation', 'member', 'incarnation', 'asked')
local theirs = tonumber(owner[1] or '-1')
local another = owner[3] ~= incarnation
local older = generation < theirs or (generation == theirs and member ~= owner[2])
-- Another ledger, an empty one too, is made anew on Kafka's word alone: whoever slept through a rebalance also finds one,
-- and would discard what its successor holds, or claim in a ledger emptied since what is finished long ago. So is one of
-- a later generation taken over, for Kafka may have forgotten its last ones. And Kafka's word is for the question that it
-- followed: that is gone once another asks or owns, or Redis is emptied.
if (another or older) and owner[4] ~= vouched then
  redis.call('HDEL', KEYS[1], 'asked')  -- a Redis that is full refuses nothing after a delete
  put('HSET', 1, 'asked', ARGV[6])
  return {another and 'LOST' or 'FENCED'}
end
if another then
  -- Another history of these offsets: the group was reset, or deleted and made again (its generations then start
  -- anew); or what is left of one whose owner has expired.
  for i = 1, 9 do redis.call('DEL', KEYS[i]) end
end
redis.call('HDEL', KEYS[1], 'asked')
redis.call('DEL', KEYS[9])  -- the marks say it all
put('HSET', 1, 'generation', generation, 'member', member, 'wake', ARGV[3], 'incarnation', incarnation)

local committed, highest, unfinished = tonumber(ARGV[8]), tonumber(ARGV[9]), {}
for i = 10, #ARGV do unfinished[ARGV[i]] = true end
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
for i = 1, 9 do redis.call('EXPIRE', KEYS[i], ARGV[7]) end
return {'OK', redis.call('HKEYS', KEYS[2]), redis.call('HKEYS', KEYS[5]), redis.call('ZRANGE', KEYS[6], 0, -1)}
