-- The worker still runs these events. Puts back a lease that Redis lost, where nobody else holds one.
-- ARGV: incarnation, run, lease_ms, size of the task, then offset, d pairs. Returns the offsets the run still holds.
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return {} end
local held = {}
for i = 5, #ARGV, 2 do
  local offset = ARGV[i]
  local run = redis.call('HGET', KEYS[3], offset)
  if not run and claim_of(offset) == tonumber(ARGV[i + 1]) then
    lease_to(offset, ARGV[2])
    run = ARGV[2]
  end
  if run == ARGV[2] then held[#held + 1] = ARGV[i] end
end
if #held > 0 then
  redis.call('HSET', KEYS[4], ARGV[2], run_entry(now_ms() + ARGV[3], ARGV[4], ARGV[3], 0, '-'))
end
return held
