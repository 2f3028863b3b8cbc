-- KEYS, the same in every script; all in one hash slot:
-- 1 owner     hash    incarnation, generation, member, wake channel
-- 2 claims    hash    offset -> 'd deaths since_ms'
-- 3 leases    hash    offset -> run
-- 4 runs      hash    run -> 'expires_ms size'
-- 5 outcomes  hash    offset -> bytes
-- 6 marks     zset    offsets settled and not yet covered by an acknowledged commit
-- 7 due       zset    offset -> when to dispatch it again, in ms of this clock
-- 8 raised    list    'offset d deaths due_ms reason', for the owner to hear of
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

-- A run of this event has ended without an outcome: the next dispatch has the next number.
local function raise(offset, d, deaths, since, due, reason)
  redis.call('HDEL', KEYS[3], offset)
  redis.call('HSET', KEYS[2], offset, (d + 1) .. ' ' .. deaths .. ' ' .. since)
  redis.call('ZADD', KEYS[7], due, offset)
  redis.call('RPUSH', KEYS[8], offset .. ' ' .. (d + 1) .. ' ' .. deaths .. ' ' .. string.format('%d', due) .. ' ' .. reason)
end

local function wake(text)
  local channel = redis.call('HGET', KEYS[1], 'wake')
  if channel then redis.call('PUBLISH', channel, text) end
end
