-- What the owner has to know, in one round trip: events to dispatch again, and outcomes to settle.
-- ARGV: generation, member, incarnation, may expire leases (1/0), most bytes of outcomes, most outcomes
-- Returns 'OK', now_ms, raised entries, then offset, outcome pairs in the order of the partition.
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return {no} end
local now = now_ms()
if ARGV[4] == '1' then
  local expired, any = {}, false
  local runs = redis.call('HGETALL', KEYS[4])
  for i = 1, #runs, 2 do
    local expires, size = runs[i + 1]:match('^(%d+) (%d+)$')
    if tonumber(expires) < now then
      expired[runs[i]] = tonumber(size)
      any = true
    end
  end
  if any then
    local leases = redis.call('HGETALL', KEYS[3])
    for i = 1, #leases, 2 do
      local size = expired[leases[i + 1]]
      if size then
        local d, deaths, since = claim_of(leases[i])
        -- A death in company is nobody's fault yet: alone, the next one is.
        raise(leases[i], d, deaths + (size == 1 and 1 or 0), since, now, 'expired')
      end
    end
    for run, _ in pairs(expired) do redis.call('HDEL', KEYS[4], run) end
  end
end
local raised = redis.call('LRANGE', KEYS[8], 0, 999)
if #raised > 0 then redis.call('LTRIM', KEYS[8], #raised, -1) end

local offsets = redis.call('HKEYS', KEYS[5])
table.sort(offsets, function(a, b) return tonumber(a) < tonumber(b) end)
local outcomes, bytes = {}, 0
for _, offset in ipairs(offsets) do
  if bytes >= tonumber(ARGV[5]) or #outcomes >= 2 * tonumber(ARGV[6]) then break end
  local outcome = redis.call('HGET', KEYS[5], offset)
  outcomes[#outcomes + 1] = offset
  outcomes[#outcomes + 1] = outcome
  bytes = bytes + #outcome
end
return {'OK', string.format('%d', now), raised, outcomes}
