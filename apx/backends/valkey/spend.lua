-- Settle costs. ARGV: kept_ms, then three for each: bucket, when its window ends (ms), tokens more (or fewer) than taken.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local kept_ms = tonumber(ARGV[1])

-- What was used and what is lent, used or not: as much may be given back, as its use may be told only later.
local function taken(key)
  local spent, lent = 0, 0
  local stored = redis.call('HGETALL', key)
  for field = 1, #stored, 2 do
    local name, value = stored[field], stored[field + 1]
    if name == 's' then
      spent = tonumber(value)
    elseif string.sub(name, 1, 2) == 'h:' then
      lent = lent + tonumber(string.match(value, '^(%S+) '))
    end
  end
  return spent, lent
end

for at = 2, #ARGV, 3 do
  local key, ends = 'apx:limit:' .. ARGV[at], tonumber(ARGV[at + 1])
  if now < ends + kept_ms then
    local spent, lent = taken(key)
    redis.call('HSET', key, 's', string.format('%.17g', math.max(-lent, spent + tonumber(ARGV[at + 2]))))
    redis.call('PEXPIREAT', key, string.format('%.0f', ends + kept_ms))
  end
end
return 0
