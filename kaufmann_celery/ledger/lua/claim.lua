-- Say that these events are outstanding. Refuses what is claimed, has an outcome or a finished mark.
-- ARGV: generation, member, incarnation, offsets...
-- Returns the refused ones, flat: offset, 'claimed' | 'outcome' | 'finished', d, deaths, run ('' = not leased), ms until it is due (0 = now)
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return {no} end
local result, now = {'OK'}, now_ms()
local since = string.format('%d', now)
for i = 4, #ARGV do
  local offset = ARGV[i]
  local d, deaths = claim_of(offset)
  local function say(state, run, due)
    for _, value in ipairs({offset, state, d or 0, deaths or 0, run, due}) do result[#result + 1] = value end
  end
  if d then
    local due = redis.call('ZSCORE', KEYS[7], offset)
    say('claimed', redis.call('HGET', KEYS[3], offset) or '', due and math.max(0, tonumber(due) - now) or 0)
  elseif redis.call('HEXISTS', KEYS[5], offset) == 1 then
    say('outcome', '', '0')
  elseif redis.call('ZSCORE', KEYS[6], offset) then
    say('finished', '', '0')
  else
    redis.call('HSET', KEYS[2], offset, '1 0 ' .. since)
  end
end
return result
