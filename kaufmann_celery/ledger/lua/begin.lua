-- A worker is about to run these events: lease those whose dispatch number is the claim's and that nobody runs.
-- ARGV: incarnation, run, lease_ms, then offset, d pairs. Returns the accepted offsets.
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return {} end
local accepted = {}
for i = 4, #ARGV, 2 do
  local offset = ARGV[i]
  if claim_of(offset) == tonumber(ARGV[i + 1]) and redis.call('HEXISTS', KEYS[3], offset) == 0 then
    redis.call('HSET', KEYS[3], offset, ARGV[2])
    redis.call('ZREM', KEYS[7], offset)
    accepted[#accepted + 1] = offset
  end
end
if #accepted > 0 then
  redis.call('HSET', KEYS[4], ARGV[2], string.format('%d %d', now_ms() + ARGV[3], #accepted))
end
return accepted
