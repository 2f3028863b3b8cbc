-- A worker is about to run these events: lease those whose dispatch number is the claim's and that nobody runs.
-- ARGV: incarnation, run, lease_ms, nonce of this execution, then offset, d pairs. Returns the accepted offsets.
-- Called again by the same execution, because the answer was lost, it accepts the same.
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return {} end
local entry = redis.call('HGET', KEYS[4], ARGV[2])
local again = entry and entry:match('(%S+)$') == ARGV[4]
local accepted = {}
for i = 5, #ARGV, 2 do
  local offset = ARGV[i]
  local holder = redis.call('HGET', KEYS[3], offset)
  if claim_of(offset) == tonumber(ARGV[i + 1]) and (not holder or (again and holder == ARGV[2])) then
    lease_to(offset, ARGV[2])
    accepted[#accepted + 1] = offset
  end
end
if #accepted > 0 then
  redis.call('HSET', KEYS[4], ARGV[2], run_entry(now_ms() + ARGV[3], #accepted, ARGV[3], 0, ARGV[4]))
end
return accepted
