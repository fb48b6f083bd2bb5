-- Note that a delivery succeeded. ARGV: webhook, when (ms). A later note stays, and one of a webhook that is gone is none.
local DELIVERED = 'apx:webhooks:delivered'
if redis.call('HEXISTS', 'apx:webhooks', ARGV[1]) == 0 then return 0 end
local stands = redis.call('HGET', DELIVERED, ARGV[1])
if stands and tonumber(stands) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', DELIVERED, ARGV[1], ARGV[2])
return 1
