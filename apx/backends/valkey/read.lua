-- Read many requests at one moment. ARGV: ids. Returns result, progress for each (false where there is none).
local found = {}
for _, id in ipairs(ARGV) do
  local result = call('GET', RESULT .. id)
  found[#found + 1] = result
  found[#found + 1] = not result and call('HGET', RUNNING, id)
end
return found
