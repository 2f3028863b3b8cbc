-- For those who only look: all that the ledger holds, at one moment.
-- Returns now_ms, {generation, member, incarnation}, claims (flat), leased, reported, marked, due (flat, with when).
return {
  string.format('%d', now_ms()),
  redis.call('HMGET', KEYS[1], 'generation', 'member', 'incarnation'),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HKEYS', KEYS[3]),
  redis.call('HKEYS', KEYS[5]),
  redis.call('ZRANGE', KEYS[6], 0, -1),
  redis.call('ZRANGE', KEYS[7], 0, -1, 'WITHSCORES'),
}
