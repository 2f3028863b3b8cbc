-- The end of every script: what it made is dropped with the rest of its ledger, where no owner comes back to it.
local answer = script()
for key in pairs(maybe_new) do
  if redis.call('TTL', KEYS[key]) == -1 then redis.call('EXPIRE', KEYS[key], TTL_S) end
end
return answer
