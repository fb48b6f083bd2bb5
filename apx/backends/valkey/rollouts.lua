-- Change one product's live state when its revision is the expected one; state and audit entry in one step.
-- ARGV: product, expected revision, new state without revision bump (msgpack), audit entry (JSON), most events
local product, expected, state, audit, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local now = redis.call('HGET', 'apx:active:revisions', product)
if tonumber(now or '0') ~= expected then
  return tonumber(now or '0') * -1 - 1
end
redis.call('HSET', 'apx:active:revisions', product, expected + 1)
redis.call('HSET', 'apx:active', product, state)
local revision = redis.call('INCR', 'apx:active:revision')
redis.call('XADD', 'apx:audit:' .. product, '*', 'entry', audit)
redis.call('XADD', 'apx:audit', 'MAXLEN', '~', most, '*', 'entry', audit)
redis.call('PUBLISH', 'apx:active:changed', revision)
return expected + 1
