-- Lend tokens. ARGV: holder, ttl_ms, kept_ms, then seven for each bucket: name, burst, tokens a second, when its window
-- ends (ms; 0 for one that has none), used, hold, need.
-- apx:limit:NAME is a HASH: h:HOLDER `tokens until_ms` of each loan; without a window v, tokens that are not lent, and t,
-- when (ms) that was; with one s, tokens that were used, and x, its burst when somebody needed more than there was.
-- Tokens that are lent count as in the bucket: with them it never holds more than its burst.
-- Returns for each bucket what the holder has now, what is left, and what others hold.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local mine, ttl_ms, kept_ms = 'h:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local granted = {}

local function text(number)
  return string.format('%.17g', number)
end

for at = 4, #ARGV, 7 do
  local key, burst, per_ms = 'apx:limit:' .. ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]) / 1000
  local ends, used = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local hold, need = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local level, since, spent, held, others, over = burst, now, 0, 0, 0, 0
  local stored = redis.call('HGETALL', key)
  for field = 1, #stored, 2 do
    local name, value = stored[field], stored[field + 1]
    if name == 'v' then
      level = tonumber(value)
    elseif name == 't' then
      since = tonumber(value)
    elseif name == 's' then
      spent = tonumber(value)
    elseif name ~= 'x' then
      local tokens, till = string.match(value, '^(%S+) (%S+)$')
      if tonumber(till) <= now then
        redis.call('HDEL', key, name)
        over = over + tonumber(tokens)
      elseif name == mine then
        held = tonumber(tokens)
      else
        others = others + tonumber(tokens)
      end
    end
  end
  used = math.min(held, used)
  held = held - used
  if ends > 0 then
    -- What was lent and not told of counts as used. Long after its end a window is not known, nor is it full again.
    spent = spent + used + over
    local room = now < ends + kept_ms and math.max(0, burst - spent - others) or 0
    held = math.min(hold, room)
    level = room - held
    redis.call('HSET', key, 's', text(spent))
    if held < need then
      redis.call('HSET', key, 'x', ARGV[at + 1])
    end
    redis.call('PEXPIREAT', key, string.format('%.0f', ends + kept_ms))
  else
    level = math.max(0, math.min(burst - others - held, level + per_ms * math.max(0, now - since)))
    local moved = math.min(hold - held, level)
    held = held + moved
    level = math.max(0, math.min(level - moved, burst - others - held))
    redis.call('HSET', key, 'v', text(level), 't', text(now))
    -- When it is full again and every loan is over, nothing need be known of it.
    redis.call('PEXPIRE', key, math.ceil(math.min(burst / per_ms, 4e9) + ttl_ms + 1000))
  end
  if held > 0 then
    redis.call('HSET', key, mine, text(held) .. ' ' .. text(now + ttl_ms))
  else
    redis.call('HDEL', key, mine)
  end
  granted[#granted + 1] = text(held)
  granted[#granted + 1] = text(level)
  granted[#granted + 1] = text(others)
end
return granted
