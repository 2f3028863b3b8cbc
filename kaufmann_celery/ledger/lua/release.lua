-- A run ended without a report, and somebody knows: its child process died, its time was up, its task was revoked.
-- ARGV: incarnation, run ('' = never begun), reason, is it the event's fault (1/0), text for the owner, then spans, d pairs.
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return 0 end
local entry = redis.call('HGET', KEYS[4], ARGV[2])
local alone = entry and entry:match('^%d+ 1 ')
local released = 0
local offsets, at = spread(6, 2)
for i, offset in ipairs(offsets) do
  local run = redis.call('HGET', KEYS[3], offset)
  local d, past = parsed(redis.call('HGET', KEYS[2], offset))
  if d == tonumber(ARGV[at[i] + 1]) and (not run or run == ARGV[2]) then
    raise(offset, d, past, ARGV[4] == '1' and alone, now_ms(), ARGV[3])
    released = released + 1
  end
end
redis.call('HDEL', KEYS[4], ARGV[2])
wake(ARGV[5])
return released
