-- End attempts. ARGV: lease_ms, then nine for each settlement (see bus.py): lane, id, fence, what, result,
-- retention_ms, retry_ms, dead letter, usage event. `what` is 'result', 'next' (a result, and go on with the lane), 'retry', 'release'.
-- Returns for each {counted} or {1, envelope, attempt, fence, crashes} with the lane's next under the same lease.
local lease_ms = tonumber(ARGV[1])
local now = now_ms()

-- A turn lasts while nothing else of anybody is ready, else a few requests or a little time, whichever ends first.
local function may_go_on(owned, turn, begin)
  if turn < QUANTUM and now - begin < QUANTUM_MS then return true end
  return call('LLEN', READY) == 0 and call('LLEN', LANES .. owned) == 0
end

local function hand_back(lane, product, org, first)
  call('ZREM', LEASES, lane)
  leave(product, org)
  offer_lane(product, org, lane, first)
end

local function go_on(lane, product, org, state, want_next)
  local turn, begin = tonumber(state[4]), tonumber(state[5])
  if want_next and may_go_on(product .. ':' .. org, turn, begin) then
    local delivery, more = start_head(lane, product, org, state[1], 0, 0, now, lease_ms, turn + 1, begin)
    if delivery then return delivery end
    if more then return hand_back(lane, product, org, false) end
  elseif call('EXISTS', LANE .. lane) == 1 then
    call('DEL', STATE .. lane)
    return hand_back(lane, product, org, false)
  else
    call('DEL', STATE .. lane)
  end
  call('ZREM', LEASES, lane)
  leave(product, org)
end

-- What APX does of itself is kept by org: one webhook's dead letters push out no other's.
local function bury(product, org, letter)
  local name = is_own(product) and product .. '.' .. org or product
  call('XADD', 'apx:dlq:' .. name, 'MAXLEN', '~', 10000, '*', 'd', letter)
  call('SADD', 'apx:dlqs', name)
end

local function finish(lane, product, org, state, at)
  local id, fence = ARGV[at + 1], ARGV[at + 2]
  local counted = call('SET', RESULT .. id, fence .. '\n' .. ARGV[at + 4], 'NX', 'PX', ARGV[at + 5])
  if counted then
    if ARGV[at + 7] ~= '' then bury(product, org, ARGV[at + 7]) end
    if ARGV[at + 8] ~= '' then note_used('e', ARGV[at + 8]) end
    call('PUBLISH', NOTICE .. id, 'r')
    drop_head(lane, product, org, id)
  else
    drop_ended(lane, product, org, id)
  end
  return counted, go_on(lane, product, org, state, ARGV[at + 3] == 'next')
end

local function postpone(lane, product, org, state, at)
  local id, fence, attempts = ARGV[at + 1], ARGV[at + 2], tonumber(state[3])
  local release = ARGV[at + 3] == 'release'
  if release then attempts = attempts - 1 end
  call('HSET', STATE .. lane, 'f', 0, 'p', fence, 'n', attempts)
  note_running(id, 0, attempts)
  if release then return hand_back(lane, product, org, true) end
  call('ZREM', LEASES, lane)
  call('ZADD', DELAYED, now + tonumber(ARGV[at + 6]), lane)
  leave(product, org)
  woken = true
end

-- The same settlement again (its reply was lost), or one of a lease that has passed to somebody else.
local function again(lane, state, at)
  local id, fence, what = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if what == 'retry' or what == 'release' then
    return state[6] == fence and state[2] == id and state[1] == '0'
  end
  local counted = fence_of(id) == fence
  if what ~= 'next' or state[1] ~= fence then return counted end
  local head = call('LINDEX', LANE .. lane, 0)
  local space = string.find(head, ' ', 1, true)
  return counted, {string.sub(head, space + 1), tonumber(state[3]), fence, state[7]}
end

local function settle(at)
  local lane, id, fence, what = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local product, org = owner(lane)
  local state = call('HMGET', STATE .. lane, 'f', 'h', 'n', 'q', 'b', 'p', 'c')
  if state[1] ~= fence or state[2] ~= id then return again(lane, state, at) end
  if what == 'result' or what == 'next' then return finish(lane, product, org, state, at) end
  if call('EXISTS', RESULT .. id) == 0 then
    postpone(lane, product, org, state, at)
    return true
  end
  drop_ended(lane, product, org, id)
  go_on(lane, product, org, state, false)
  return false
end

local settled = {}
for at = 2, #ARGV, 9 do
  local counted, following = settle(at)
  local answer = {counted and 1 or 0}
  if following then answer = {answer[1], following[1], following[2], tonumber(following[3]), tonumber(following[4])} end
  settled[#settled + 1] = answer
end
write_shared(true)
return settled
