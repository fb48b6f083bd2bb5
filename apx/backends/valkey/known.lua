-- What is known of requests. ARGV: id and lane of each. Returns for each 2 with a result, 1 queued or running, else 0.
local known = {}
for at = 1, #ARGV, 2 do
  local queued = call('GET', KNOWN .. ARGV[at])
  if call('EXISTS', RESULT .. ARGV[at]) == 1 then
    known[#known + 1] = 2
  else
    known[#known + 1] = queued and queued ~= 'w' and 1 or 0
    if queued == 'j' then call('SET', BEHIND .. ARGV[at + 1], '', 'PX', BEHIND_MS) end
  end
end
return known
