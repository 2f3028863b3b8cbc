-- A worker is about to run these events: lease those whose dispatch number and tag are the claim's and that nobody runs.
-- ARGV: incarnation, run, lease_ms, nonce of this execution, tag, then spans, d pairs. Returns the accepted spans.
-- Called again by the same execution, because the answer was lost, it accepts the same.
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return '' end
local entry = redis.call('HGET', KEYS[4], ARGV[2])
local again = entry and entry:match('(%S+)$') == ARGV[4]
local accepted, offsets, at = {}, spread(6, 2)
local claims, holders = values_of(2, offsets), values_of(3, offsets)
for i, offset in ipairs(offsets) do
  local is_free = not holders[i] and has_tag(claims[i], ARGV[5])
  if d_of(claims[i]) == ARGV[at[i] + 1] and (is_free or (again and holders[i] == ARGV[2])) then
    accepted[#accepted + 1] = offset
  end
end
lease_to(accepted, ARGV[2])
if #accepted > 0 then
  put('HSET', 4, ARGV[2], run_entry(now_ms() + ARGV[3], #accepted, ARGV[3], 0, ARGV[4]))
end
return spans(accepted)
