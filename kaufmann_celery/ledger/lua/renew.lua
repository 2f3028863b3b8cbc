-- The worker still runs these events. Puts back a lease that Redis lost, where nobody else holds one.
-- ARGV: incarnation, run, lease_ms, size of the task, then spans, d pairs. Returns the spans the run still holds.
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return '' end
local held, lost, offsets, at = {}, {}, spread(5, 2)
local claims, holders = values_of(2, offsets), values_of(3, offsets)
for i, offset in ipairs(offsets) do
  local is_lost = not holders[i] and d_of(claims[i]) == ARGV[at[i] + 1]
  if is_lost then lost[#lost + 1] = offset end
  if is_lost or holders[i] == ARGV[2] then held[#held + 1] = offset end
end
lease_to(lost, ARGV[2])
if #held > 0 then
  put('HSET', 4, ARGV[2], run_entry(now_ms() + ARGV[3], ARGV[4], ARGV[3], 0, '-'))
end
return spans(held)
