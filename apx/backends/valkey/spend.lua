-- Settle costs. ARGV: kept_ms, then three for each: bucket, when its window ends (ms), tokens more (or fewer) than taken.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local kept_ms = tonumber(ARGV[1])
for at = 2, #ARGV, 3 do
  local key, ends = 'apx:limit:' .. ARGV[at], tonumber(ARGV[at + 1])
  if now < ends + kept_ms then
    local spent = tonumber(redis.call('HGET', key, 's') or '0') + tonumber(ARGV[at + 2])
    redis.call('HSET', key, 's', string.format('%.17g', math.max(0, spent)))
    redis.call('PEXPIREAT', key, string.format('%.0f', ends + kept_ms))
  end
end
return 0
