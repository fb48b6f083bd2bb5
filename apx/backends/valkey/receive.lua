-- Take deliveries. ARGV: room, lease_ms, key of the bounds (HASH product -> `concurrency:per org`), most bytes.
-- Returns {ms until something is due, delivery …}; {-1} when the bounds are not known here.
local room, lease_ms, bounds, room_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local left_ms = call('PTTL', bounds)
if left_ms < 0 then return {-1} end
if left_ms < 1800000 then call('PEXPIRE', bounds, 3600000) end

local now = now_ms()

-- Leases that were not renewed: the lane goes to the front of its org's, the attempt stays counted.
for _, lane in ipairs(call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 100)) do
  local product, org = owner(lane)
  call('ZREM', LEASES, lane)
  local state = call('HMGET', STATE .. lane, 'h', 'n')
  call('HSET', STATE .. lane, 'f', 0, 'p', 0)
  call('HINCRBY', STATE .. lane, 'c', 1)
  note_running(state[1], 0, state[2])
  leave(product, org)
  offer_lane(product, org, lane, true)
end
for _, lane in ipairs(call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, 100)) do
  local product, org = owner(lane)
  call('ZREM', DELAYED, lane)
  offer_lane(product, org, lane, true)
end

-- The next org of the ring that is under its bound; those that are not are parked.
local function next_org(product, bound)
  while true do
    local org = call('LPOP', RING .. product)
    if not org then return nil end
    local owned = product .. ':' .. org
    if tonumber(call('HGET', INFLIGHT, owned) or 0) < bound then return org end
    call('SADD', PARKED, owned)
  end
end

local deliveries, bytes = {}, 0

local function take_turn(product, org)
  local owned = product .. ':' .. org
  local lane = call('LPOP', LANES .. owned)
  local fence = call('INCR', FENCE)
  if fence == 1 then
    -- A store that has lost its data, and whose old leases are still held, must not give the same fences again. Ten for
    -- each millisecond of its clock is more than it can have given.
    fence = now * 10
    call('SET', FENCE, fence)
  end
  local state = call('HMGET', STATE .. lane, 'n', 'c')
  local attempts, crashes = tonumber(state[1] or 0), tonumber(state[2] or 0)
  local delivery, more = start_head(lane, product, org, fence, attempts, crashes, now, lease_ms, 1, now)
  if more then call('RPUSH', LANES .. owned, lane) end
  if call('LLEN', LANES .. owned) > 0 then call('RPUSH', RING .. product, org) end
  if delivery then
    call('HINCRBY', INFLIGHT, product, 1)
    call('HINCRBY', INFLIGHT, owned, 1)
    deliveries[#deliveries + 1] = delivery
    bytes = bytes + #delivery[1]
  end
end

local not_mine = {}
while #deliveries < room and bytes < room_bytes do
  local product = call('LPOP', READY)
  if not product then break end
  local bound = call('HGET', bounds, product)
  if not bound then
    not_mine[#not_mine + 1] = product
  else
    local most, most_per_org = string.match(bound, '^(%d+):(%d+)$')
    if tonumber(call('HGET', INFLIGHT, product) or 0) >= tonumber(most) then
      call('SADD', PARKED, product)
    else
      local org = next_org(product, tonumber(most_per_org))
      if org then take_turn(product, org) end
      if call('LLEN', RING .. product) > 0 then call('RPUSH', READY, product) end
    end
  end
end
for at = #not_mine, 1, -1 do call('LPUSH', READY, not_mine[at]) end

-- What was passed on and is more than this worker has room for is for the others.
write_shared(#deliveries == room)
if #deliveries > 0 then return {0, unpack(deliveries)} end
local due = now + 60000
for _, key in ipairs({LEASES, DELAYED}) do
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first then due = math.min(due, tonumber(first)) end
end
return {math.max(1, due - now)}
