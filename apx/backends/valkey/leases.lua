-- Take, renew or give up a lease. ARGV: name, holder, ttl_ms (0 gives it up). Returns 1 when the holder has it now.
local key, holder, ttl = 'apx:lease:' .. ARGV[1], ARGV[2], tonumber(ARGV[3])
local held = redis.call('GET', key)
if held and held ~= holder then return 0 end
if ttl == 0 then
  redis.call('DEL', key)
  return 0
end
redis.call('SET', key, holder, 'PX', ttl)
return 1
