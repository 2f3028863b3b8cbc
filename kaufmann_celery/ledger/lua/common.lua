-- KEYS, the same in every script; all in one hash slot:
-- 1 owner     hash    incarnation, generation, member, wake channel, when it last looked (seen);
--                     the wake channel is the ingester's own, and its transactional id is made of it
-- 2 claims    hash    offset -> 'd deaths since_ms'
-- 3 leases    hash    offset -> run
-- 4 runs      hash    run -> 'expires_ms size lease_ms graced nonce'
-- 5 outcomes  hash    offset -> bytes
-- 6 marks     zset    offsets settled and not yet covered by an acknowledged commit
-- 7 due       zset    offset -> when to dispatch it again, in ms of this clock
-- 8 raised    hash    offset -> 'd deaths due_ms reason', until the owner has heard of it or it runs again
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function claim_of(offset)
  local claim = redis.call('HGET', KEYS[2], offset)
  if not claim then return nil end
  local d, deaths, since = claim:match('^(%d+) (%d+) (%d+)$')
  return tonumber(d), tonumber(deaths), since
end

-- Deletes come first wherever a script writes: a Redis that is full refuses nothing after them.
local function drop(offset)
  for _, key in ipairs({2, 3, 5, 8}) do redis.call('HDEL', KEYS[key], offset) end
  redis.call('ZREM', KEYS[7], offset)
end

-- A run of this event has ended without an outcome: the next dispatch has the next number.
local function raise(offset, d, deaths, since, due, reason)
  redis.call('HDEL', KEYS[3], offset)
  redis.call('HSET', KEYS[2], offset, (d + 1) .. ' ' .. deaths .. ' ' .. since)
  redis.call('ZADD', KEYS[7], due, offset)
  redis.call('HSET', KEYS[8], offset, string.format('%d %d %d %s', d + 1, deaths, due, reason))
end

local function lease_to(offset, run)
  redis.call('ZREM', KEYS[7], offset)
  redis.call('HDEL', KEYS[8], offset)
  redis.call('HSET', KEYS[3], offset, run)
end

local function run_entry(expires, size, lease, graced, nonce)
  return string.format('%d %d %d %d %s', expires, size, lease, graced, nonce)
end

local function wake(text)
  local channel = redis.call('HGET', KEYS[1], 'wake')
  if channel then redis.call('PUBLISH', channel, text) end
end
