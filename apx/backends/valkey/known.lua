-- What is known of requests. ARGV: id and lane of each. Returns for each 3 with a result of a delivery, 2 with one from
-- outside, 1 queued or running, else 0.
local known = {}
for at = 1, #ARGV, 2 do
  local queued = call('GET', KNOWN .. ARGV[at])
  local fence = fence_of(ARGV[at])
  if fence then
    known[#known + 1] = fence == '0' and 2 or 3
  else
    known[#known + 1] = queued and queued ~= 'w' and 1 or 0
    if queued == 'j' then call('SET', BEHIND .. ARGV[at + 1], '', 'PX', BEHIND_MS) end
  end
end
return known
