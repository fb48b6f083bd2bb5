-- Renew leases. ARGV: lease_ms, then lane, id and fence of each delivery. Returns for each 1, or 0 when the lane has
-- passed on or the request has a result; in the second case the lease stands until the worker settles.
local expiry = now_ms() + tonumber(ARGV[1])
local renewed = {}
for at = 2, #ARGV, 3 do
  local lane, id = ARGV[at], ARGV[at + 1]
  local state = call('HMGET', STATE .. lane, 'f', 'h')
  local held = state[1] == ARGV[at + 2] and state[2] == id and call('EXISTS', RESULT .. id) == 0
  if held then call('ZADD', LEASES, 'XX', expiry, lane) end
  renewed[#renewed + 1] = held and 1 or 0
end
return renewed
