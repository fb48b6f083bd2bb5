-- What of windows is used or lent out. ARGV: names of buckets. Returns a number for each.
local answer = {}
for at = 1, #ARGV do
  local spent = 0
  local stored = redis.call('HGETALL', 'apx:limit:' .. ARGV[at])
  for field = 1, #stored, 2 do
    local name, value = stored[field], stored[field + 1]
    if name == 's' then
      spent = spent + tonumber(value)
    elseif string.sub(name, 1, 2) == 'h:' then
      spent = spent + tonumber(string.match(value, '^(%S+)'))
    end
  end
  answer[at] = string.format('%.17g', spent)
end
return answer
