-- KEYS, the same in every script; all in one hash slot:
-- 1 owner     hash    incarnation, generation, member, wake channel, when it last looked (seen), and the question (asked)
--                     of who would make the ledger anew and has Kafka say whether it may;
--                     the wake channel is the ingester's own, and its transactional id is made of it
-- 2 claims    hash    offset -> 'd deaths failures idle since_ms tag': its dispatch number, and of the dispatches before
--                     how many died alone, failed and are tried again, ended before the handler was called; of whom
--                     tasks may begin it ('-' = whoever sent them)
-- 3 leases    hash    offset -> run
-- 4 runs      hash    run -> 'expires_ms size lease_ms graced nonce'
-- 5 outcomes  hash    offset -> bytes
-- 6 marks     zset    offsets settled and not yet covered by an acknowledged commit
-- 7 due       zset    offset -> when to dispatch it again, in ms of this clock
-- 8 raised    hash    offset -> 'd deaths failures idle due_ms reason', until the owner has heard of it or it runs again
-- 9 handled   list    spans settled by the runs themselves, there being nothing to publish, until the owner has heard of it

-- The keys that may be new: what a script makes has an end, see ageing.lua.
local maybe_new = {}

local function put(command, key, ...)
  maybe_new[key] = true
  return redis.call(command, KEYS[key], ...)
end

local function push(key, value)
  if redis.call('RPUSH', KEYS[key], value) == 1 then maybe_new[key] = true end
end

-- A Redis that is full refuses it, and the script goes on.
local function put_if_room(command, key, ...)
  maybe_new[key] = true
  return redis.pcall(command, KEYS[key], ...)
end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Offsets travel as spans, '5-9 12-12' (spans.py): a client takes as long to write each argument as all this takes.
-- Returns those of every step-th argument, and for each where in ARGV it was.
local function spread(from, step)
  local offsets, at = {}, {}
  for i = from, #ARGV, step do
    for first, last in ARGV[i]:gmatch('(%d+)%-(%d+)') do
      offsets[#offsets + 1], at[#at + 1] = first, i
      for offset = tonumber(first) + 1, tonumber(last) do
        offsets[#offsets + 1] = string.format('%d', offset)
        at[#at + 1] = i
      end
    end
  end
  return offsets, at
end

-- Of offsets as text.
local function spans(offsets)
  local found, first, last = {}, offsets[1], offsets[1]
  for i = 2, #offsets do
    if tonumber(offsets[i]) ~= last + 1 then
      found[#found + 1] = first .. '-' .. last
      first = offsets[i]
    end
    last = offsets[i]
  end
  if first then found[#found + 1] = first .. '-' .. last end
  return table.concat(found, ' ')
end

-- Every command costs as much as ten of its fields: scripts ask and write for many events at a time.

-- Redis looks through what has few fields one by one (up to 512 of a hash, 128 of a set, unless told otherwise), and makes
-- a table of what has a long one. These are tables from so many fields on.
local MANY, LONG = 64, '-----------------------------------------------------------------'

local function add(count, write, remove, key, pairs, field, value)
  local before = redis.call(count, KEYS[key])
  local is_more = before < MANY and before + #pairs / 2 >= MANY
  if is_more then redis.call(write, KEYS[key], field, value) end
  redis.call(write, KEYS[key], unpack(pairs))
  if is_more then redis.call(remove, KEYS[key], LONG) end
  if before == 0 then maybe_new[key] = true end
end

local function add_fields(key, pairs)
  add('HLEN', 'HSET', 'HDEL', key, pairs, LONG, 0)
end

local function add_marks(pairs)
  add('ZCARD', 'ZADD', 'ZREM', 6, pairs, 0, LONG)
end

local function values_of(key, offsets)
  return #offsets > 0 and redis.call('HMGET', KEYS[key], unpack(offsets)) or {}
end

-- As text, the way a task carries it.
local function d_of(claim)
  return claim and claim:match('^%d+')
end

local function has_tag(claim, tag)
  return claim and claim:sub(-#tag - 1) == ' ' .. tag
end

local function parsed(claim)
  if not claim then return nil end
  local d, deaths, failures, idle, kept = claim:match('^(%d+) (%d+) (%d+) (%d+) (%d+ %S+)$')
  return tonumber(d), {deaths = tonumber(deaths), failures = tonumber(failures), idle = tonumber(idle), kept = kept}
end

-- What is to run again later, and why, is gone once it runs or is settled.
local function forget_due(offsets)
  redis.call('ZREM', KEYS[7], unpack(offsets))
  redis.call('HDEL', KEYS[8], unpack(offsets))
end

-- Deletes come first wherever a script writes: a Redis that is full refuses nothing after them.
local function drop(offsets)
  if #offsets == 0 then return end
  redis.call('HDEL', KEYS[2], unpack(offsets))
  redis.call('HDEL', KEYS[3], unpack(offsets))
  -- Mostly there is nothing of this, and one question costs less than three answers.
  if redis.call('EXISTS', KEYS[5], KEYS[7], KEYS[8]) > 0 then
    redis.call('HDEL', KEYS[5], unpack(offsets))
    forget_due(offsets)
  end
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
  add_marks(marks)
end

local COUNTED_AS = {retry = 'failures', time_limit = 'failures', held = 'idle', revoked = 'idle', rejected = 'idle'}

-- A dispatch of this event has ended without an outcome: the next one has the next number.
local function raise(offset, d, past, died_alone, due, reason)
  if died_alone then past.deaths = past.deaths + 1 end
  local counted = COUNTED_AS[reason]
  if counted then past[counted] = past[counted] + 1 end
  local numbers = string.format('%d %d %d %d', d + 1, past.deaths, past.failures, past.idle)
  redis.call('HDEL', KEYS[3], offset)
  put('HSET', 2, offset, numbers .. ' ' .. past.kept)
  put('ZADD', 7, due, offset)
  put('HSET', 8, offset, numbers .. string.format(' %d %s', due, reason))
end

local function lease_to(offsets, run)
  if #offsets == 0 then return end
  if redis.call('EXISTS', KEYS[7], KEYS[8]) > 0 then forget_due(offsets) end
  local leases = {}
  for _, offset in ipairs(offsets) do
    leases[#leases + 1] = offset
    leases[#leases + 1] = run
  end
  add_fields(3, leases)
end

local function run_entry(expires, size, lease, graced, nonce)
  return string.format('%d %d %d %d %s', expires, size, lease, graced, nonce)
end

local function wake(text)
  local channel = text ~= '' and redis.call('HGET', KEYS[1], 'wake')
  if channel then redis.call('PUBLISH', channel, text) end
end
