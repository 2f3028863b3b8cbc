-- The end of every script: what it made is dropped with the rest of its ledger, where no owner comes back to it.
local answer = script()
for _, key in ipairs(KEYS) do
  if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, TTL_S) end
end
return answer
