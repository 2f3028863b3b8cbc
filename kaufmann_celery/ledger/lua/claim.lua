-- Say that these events are outstanding. Refuses what is claimed, has an outcome or a finished mark.
-- ARGV: generation, member, incarnation, tag, spans
-- Returns the refused ones, flat: offset, 'claimed' | 'outcome' | 'finished', claim, run ('' = not leased), ms until it
-- is due (0 = now), raised entry ('' = none)
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return {no} end
local result, now = {'OK'}, now_ms()
local tag, offsets, new = ARGV[4], spread(5, 1), {}
local claims = values_of(2, offsets)
local reported = {}
for _, offset in ipairs(redis.call('HKEYS', KEYS[5])) do reported[offset] = true end
local highest_mark = tonumber(redis.call('ZRANGE', KEYS[6], -1, -1)[1] or '-1')
local first = string.format('1 0 0 0 %d %s', now, tag)
local function say(offset, state, claim, run, due, raised)
  for _, value in ipairs({offset, state, claim, run, due, raised}) do result[#result + 1] = value end
end
for i, offset in ipairs(offsets) do
  local claim = claims[i]
  if claim then
    if not has_tag(claim, tag) then
      -- A predecessor's: what it sent begins no more.
      put('HSET', 2, offset, (claim:gsub('%S+$', tag)))
    end
    local due = redis.call('ZSCORE', KEYS[7], offset)
    local wait = due and math.max(0, tonumber(due) - now) or 0
    local run, raised = redis.call('HGET', KEYS[3], offset), redis.call('HGET', KEYS[8], offset)
    say(offset, 'claimed', claim, run or '', wait, raised or '')
  elseif reported[offset] then
    say(offset, 'outcome', '', '', '0', '')
  elseif tonumber(offset) <= highest_mark and redis.call('ZSCORE', KEYS[6], offset) then
    say(offset, 'finished', '', '', '0', '')
  else
    new[#new + 1] = offset
    new[#new + 1] = first
  end
end
if #new > 0 then add_fields(2, new) end
return result
