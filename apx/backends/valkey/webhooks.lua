-- Change one webhook when it still is what was looked at. ARGV: id, org, what it was ('' for none), what it shall be ('' for none)
local WEBHOOKS, OF, DELIVERED = 'apx:webhooks', 'apx:webhooks:of:', 'apx:webhooks:delivered'
local id, org, before, after = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local stands = redis.call('HGET', WEBHOOKS, id) or ''
if stands == after then return 1 end -- the same change again: its answer was lost
if stands ~= before then return 0 end
if after == '' then
  redis.call('HDEL', WEBHOOKS, id)
  redis.call('HDEL', DELIVERED, id)
  redis.call('SREM', OF .. org, id)
else
  redis.call('HSET', WEBHOOKS, id, after)
  redis.call('SADD', OF .. org, id)
end
return 1
