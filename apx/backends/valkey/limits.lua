-- Lend tokens. ARGV: holder, ttl_ms, then five for each bucket: name, tokens a second, burst, used, hold.
-- apx:limit:NAME is a HASH: v tokens that are not lent, t when (ms) that was, h:HOLDER `tokens until_ms` of each loan.
-- Tokens that are lent count as in the bucket: with them it never holds more than its burst.
-- Returns for each bucket what the holder has now, and what is left.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local mine, ttl_ms = 'h:' .. ARGV[1], tonumber(ARGV[2])
local granted = {}

local function text(number)
  return string.format('%.17g', number)
end

for at = 3, #ARGV, 5 do
  local key, per_ms, burst = 'apx:limit:' .. ARGV[at], tonumber(ARGV[at + 1]) / 1000, tonumber(ARGV[at + 2])
  local used, hold = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local level, since, held, others = burst, now, 0, 0
  local stored = redis.call('HGETALL', key)
  for field = 1, #stored, 2 do
    local name, value = stored[field], stored[field + 1]
    if name == 'v' then
      level = tonumber(value)
    elseif name == 't' then
      since = tonumber(value)
    else
      local tokens, till = string.match(value, '^(%S+) (%S+)$')
      if tonumber(till) <= now then
        redis.call('HDEL', key, name)
      elseif name == mine then
        held = tonumber(tokens)
      else
        others = others + tonumber(tokens)
      end
    end
  end
  held = held - math.min(held, used)
  level = math.max(0, math.min(burst - others - held, level + per_ms * math.max(0, now - since)))
  local moved = math.min(hold - held, level)
  held = held + moved
  level = math.max(0, math.min(level - moved, burst - others - held))
  redis.call('HSET', key, 'v', text(level), 't', text(now))
  if held > 0 then
    redis.call('HSET', key, mine, text(held) .. ' ' .. text(now + ttl_ms))
  else
    redis.call('HDEL', key, mine)
  end
  -- When it is full again and every loan is over, nothing need be known of it.
  redis.call('PEXPIRE', key, math.ceil(math.min(burst / per_ms, 4e9) + ttl_ms + 1000))
  granted[#granted + 1] = text(held)
  granted[#granted + 1] = text(level)
end
return granted
