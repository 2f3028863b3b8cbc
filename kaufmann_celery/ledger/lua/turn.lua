-- What the owner has to know, in one round trip: events to dispatch again, outcomes to settle, and what runs have settled
-- themselves. Were the answer lost that tells of these, the owner's next claim of them is refused as finished.
-- ARGV: generation, member, incarnation, may expire leases (1/0), most bytes of outcomes, most outcomes,
--       then the raised entries heard of before. An entry stays until it is heard of, for an answer may be lost.
-- Returns 'OK', now_ms, raised entries, offset, outcome pairs in the order of the partition, the spans settled, and
-- whether more wait (1/0).
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return {no} end
for i = 7, #ARGV do
  local offset, entry = ARGV[i]:match('^(%d+) (.*)$')
  if redis.call('HGET', KEYS[8], offset) == entry then redis.call('HDEL', KEYS[8], offset) end
end

-- How long a lease lasts whose run Redis has lost.
local ORPHAN_MS = 30000
local now = now_ms()
local seen = tonumber(redis.call('HGET', KEYS[1], 'seen') or now)
-- pcall: a Redis that is full still hands its outcomes out.
put_if_room('HSET', 1, 'seen', now)

-- Which runs have expired, and the size of each known one. Nobody looked for longer than a lease, or the clock
-- jumped: a run could not renew, or seems not to have, and has one lease more, once. It never has more than one.
local function expired_runs()
  local sizes, expired, any = {}, {}, false
  local runs = redis.call('HGETALL', KEYS[4])
  for i = 1, #runs, 2 do
    local expires, size, lease, graced, nonce = runs[i + 1]:match('^(%d+) (%d+) (%d+) (%d) (%S+)$')
    expires, lease = tonumber(expires), tonumber(lease)
    sizes[runs[i]] = tonumber(size)
    local grace = expires < now and graced == '0' and now - seen > lease
    if grace or expires > now + lease then
      put_if_room('HSET', 4, runs[i], run_entry(now + lease, size, lease, 1, nonce))
    elseif expires < now then
      redis.call('HDEL', KEYS[4], runs[i])
      expired[runs[i]] = true
      any = true
    end
  end
  return sizes, expired, any
end

local function expire(offset, run, sizes, expired)
  if not sizes[run] then
    put_if_room('HSET', 4, run, run_entry(now + ORPHAN_MS, 0, ORPHAN_MS, 1, '-'))
  elseif expired[run] then
    local d, past = parsed(redis.call('HGET', KEYS[2], offset))
    -- A death in company is nobody's fault yet: alone, the next one is.
    if d then
      raise(offset, d, past, sizes[run] == 1, now, 'expired')
    else
      redis.call('HDEL', KEYS[3], offset)
    end
  end
end

if ARGV[4] == '1' then
  local sizes, expired, any = expired_runs()
  if any or math.floor(now / 1000) ~= math.floor(seen / 1000) then
    local leases = redis.call('HGETALL', KEYS[3])
    for i = 1, #leases, 2 do expire(leases[i], leases[i + 1], sizes, expired) end
  end
end

local raised, entries = {}, redis.call('HGETALL', KEYS[8])
for i = 1, #entries, 2 do raised[#raised + 1] = entries[i] .. ' ' .. entries[i + 1] end

-- The lowest outcomes first, some at a time, for they may be large.
local AT_A_TIME = 10
local offsets, name_of = {}, {}
for i, offset in ipairs(redis.call('HKEYS', KEYS[5])) do
  offsets[i] = tonumber(offset)
  name_of[offsets[i]] = offset
end
table.sort(offsets)
local outcomes, bytes, from = {}, 0, 1
local most = math.min(#offsets, tonumber(ARGV[6]))
while from <= most and bytes < tonumber(ARGV[5]) do
  local names = {}
  local upto = math.min(from + AT_A_TIME - 1, most)
  for i = from, upto do names[#names + 1] = name_of[offsets[i]] end
  for i, outcome in ipairs(values_of(5, names)) do
    if bytes < tonumber(ARGV[5]) then
      outcomes[#outcomes + 1] = names[i]
      outcomes[#outcomes + 1] = outcome
      bytes = bytes + #outcome
    end
  end
  from = upto + 1
end
local settled = redis.call('LRANGE', KEYS[9], 0, -1)
if #settled > 0 then redis.call('DEL', KEYS[9]) end
local more = #outcomes / 2 < #offsets
return {'OK', string.format('%d', now), raised, outcomes, table.concat(settled, ' '), more and 1 or 0}
