-- A run reports what became of its events. Only the holder of the lease may, or the run whose lease Redis lost.
-- ARGV: incarnation, run, is this the run's last report (1/0), text for the owner,
--       then offset, d, 'outcome' | 'retry' | 'held', outcome bytes | countdown_ms. Returns the refused offsets.
--       held: not run, because one before it in its lane did not succeed.
-- An outcome that is there already, because the answer was lost, is not refused.
local refused_offsets = {}
local known = redis.call('HGET', KEYS[1], 'incarnation') == ARGV[1]
for i = 5, #ARGV, 4 do
  local offset, bytes = ARGV[i], ARGV[i + 3]
  local run = redis.call('HGET', KEYS[3], offset)
  local d, past = claim_of(offset)
  if known and d == tonumber(ARGV[i + 1]) and (not run or run == ARGV[2]) then
    if ARGV[i + 2] ~= 'outcome' then
      raise(offset, d, past, false, now_ms() + bytes, ARGV[i + 2])
    else
      drop(offset)
      redis.call('HSET', KEYS[5], offset, bytes)
    end
  elseif not known or ARGV[i + 2] ~= 'outcome' or redis.call('HGET', KEYS[5], offset) ~= bytes then
    refused_offsets[#refused_offsets + 1] = offset
  end
end
if ARGV[3] == '1' then redis.call('HDEL', KEYS[4], ARGV[2]) end
wake(ARGV[4])
return refused_offsets
