-- What is known of requests. ARGV: ids. Returns for each 2 with a result, 1 queued or running, else 0.
local known = {}
for _, id in ipairs(ARGV) do
  local queued = call('EXISTS', KNOWN .. id)
  known[#known + 1] = call('EXISTS', RESULT .. id) == 1 and 2 or queued
end
return known
