-- What of windows is used, as far as it was told. ARGV: names of buckets. Returns two for each: tokens, and the size that
-- it had when somebody needed more than there was.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local answer = {}
for at = 1, #ARGV do
  local spent, short_of = 0, '0'
  local stored = redis.call('HGETALL', 'apx:limit:' .. ARGV[at])
  for field = 1, #stored, 2 do
    local name, value = stored[field], stored[field + 1]
    if name == 's' then
      spent = spent + tonumber(value)
    elseif name == 'x' then
      short_of = value
    elseif string.sub(name, 1, 2) == 'h:' then
      local tokens, till = string.match(value, '^(%S+) (%S+)$')
      if tonumber(till) <= now then
        spent = spent + tonumber(tokens)
      end
    end
  end
  answer[#answer + 1] = string.format('%.17g', math.max(0, spent))
  answer[#answer + 1] = short_of
end
return answer
