-- Change somebody's role in an org when it still is what was looked at. ARGV: org, who, role before ('' for none), role after ('' for none)
local within, of = 'apx:members:in:' .. ARGV[1], 'apx:members:of:' .. ARGV[2]
local org, who, before, after = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local stands = redis.call('HGET', within, who) or ''
if stands == after then return 1 end -- the same change again: its answer was lost
if stands ~= before then return 0 end
if after == '' then
  redis.call('HDEL', within, who)
  redis.call('HDEL', of, org)
else
  redis.call('HSET', within, who, after)
  redis.call('HSET', of, org, after)
end
return 1
