-- Kafka will never take what these outcomes asked for: their events have failed, and are claimed again until that is
-- concluded. ARGV: generation, member, incarnation, tag, then offset, d, deaths, failures, idle for each.
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return no end
local now = now_ms()
local kept = string.format('%d %s', now, ARGV[4])
for i = 5, #ARGV, 5 do
  local offset = ARGV[i]
  if redis.call('HDEL', KEYS[5], offset) == 1 then
    local past = {deaths = ARGV[i + 2], failures = ARGV[i + 3], idle = ARGV[i + 4], kept = kept}
    raise(offset, ARGV[i + 1], past, false, now, 'refused')
  end
end
return 'OK'
