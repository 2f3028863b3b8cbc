-- A run reports what became of its events. Only the holder of the lease may, or the run whose lease Redis lost.
-- ARGV: incarnation, run, is this the run's last report (1/0), text for the owner ('' = it need not look yet),
--       then spans, d, 'outcome' | 'retry' | 'held', outcome bytes | countdown_ms. Returns the refused spans.
--       held: not run: one before it in its lane did not succeed, or the handler of one before it takes long.
-- An empty outcome asks for nothing, and is settled by this. One that is there already, because the answer was lost, is
-- not refused.
local function is_told(offset, bytes)
  if bytes == '' then return redis.call('ZSCORE', KEYS[6], offset) end
  return redis.call('HGET', KEYS[5], offset) == bytes
end
local known = redis.call('HGET', KEYS[1], 'incarnation') == ARGV[1]
local refused_offsets, offsets, at = {}, spread(5, 4)
local claims, holders = values_of(2, offsets), values_of(3, offsets)
local silent, done, outcomes, later = {}, {}, {}, {}
for i, offset in ipairs(offsets) do
  local d, what, bytes = ARGV[at[i] + 1], ARGV[at[i] + 2], ARGV[at[i] + 3]
  if known and d_of(claims[i]) == d and (not holders[i] or holders[i] == ARGV[2]) then
    if what ~= 'outcome' then
      later[#later + 1] = i
    elseif bytes == '' then
      silent[#silent + 1] = offset
    else
      done[#done + 1] = offset
      outcomes[#outcomes + 1] = offset
      outcomes[#outcomes + 1] = bytes
    end
  elseif not (known and what == 'outcome' and is_told(offset, bytes)) then
    refused_offsets[#refused_offsets + 1] = offset
  end
end
settle(silent)
if #silent > 0 then push(9, spans(silent)) end
drop(done)
if #done > 0 then put('HSET', 5, unpack(outcomes)) end
for _, i in ipairs(later) do
  local d, past = parsed(claims[i])
  raise(offsets[i], d, past, false, now_ms() + ARGV[at[i] + 3], ARGV[at[i] + 2])
end
if ARGV[3] == '1' then redis.call('HDEL', KEYS[4], ARGV[2]) end
wake(ARGV[4])
return spans(refused_offsets)
