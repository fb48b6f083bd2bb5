-- Read many requests at one moment. ARGV: ids. Returns result, progress for each (false where there is none).
local found = {}
for _, id in ipairs(ARGV) do
  local result = call('GET', RESULT .. id)
  found[#found + 1] = result
  local progress = not result and call('HGET', RUNNING, id)
  if not result and not progress and call('EXISTS', KNOWN .. id) == 1 then progress = '0:0' end
  found[#found + 1] = progress
end
return found
