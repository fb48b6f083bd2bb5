-- Keys and moves that the scripts of the bus share. One script is one atomic step, and one transaction in the AOF.
--
-- A container is listed in its parent exactly while it has something to give:
--   apx:q:ready            LIST of products with ready orgs            (or parked: in flight up to its bound)
--   apx:q:ring:P           LIST of orgs of P with ready lanes          (or parked: in flight up to its bound)
--   apx:q:lanes:P:O        LIST of ready lanes of (P, O)
--   apx:q:lane:P:O:L       LIST of envelopes, `id SPACE msgpack`; the head stays until it is settled
-- A lane that is not empty is in exactly one of: its org's ready lanes, apx:q:leases, apx:q:delayed.
--   apx:q:state:P:O:L      HASH f fence of the lease or 0, p fence before it was handed back, h id of the head under
--                               way, n attempts and c crashes of the head, q requests in this turn, b begin of the turn (ms)
--   apx:q:leases, :delayed ZSET of lanes by the time (ms, server's clock) of expiry, of the next attempt
--   apx:q:inflight, :depth HASH of counts by P and P:O; a field is gone at 0
--   apx:q:running          HASH id -> `started_ms:attempt` (0: it waits for the next attempt)
-- Where a journal keeps the requests too, and may offer again what this store has lost:
--   apx:q:id:ID            ID was queued: by its router, or (`j`) from the journal; `w`: it is still there
--   apx:q:born             since when (ms) this store has had its data
--   apx:q:behind:P:O:L     the lane has requests that only the journal has: what is new comes behind them, from there
--   apx:usage              STREAM of usage events (usage.py), in one entry those of one script: `e…` an event; `c…` a
--                               request that ended outside a delivery, followed by `r…`, its result. Only where no journal is kept, which tells them itself
--   apx:res:ID             `fence LF msgpack`: the result; fence 0 for one from outside a delivery
local call = redis.call
local READY, PARKED, RING, LANES = 'apx:q:ready', 'apx:q:parked', 'apx:q:ring:', 'apx:q:lanes:'
local LANE, STATE, LEASES, DELAYED = 'apx:q:lane:', 'apx:q:state:', 'apx:q:leases', 'apx:q:delayed'
local INFLIGHT, DEPTH, RUNNING, FENCE = 'apx:q:inflight', 'apx:q:depth', 'apx:q:running', 'apx:q:fence'
local RESULT, NOTICE, WAKE = 'apx:res:', 'apx:n:', 'apx:q:wake'
local KNOWN, BORN, BEHIND, BEHIND_MS = 'apx:q:id:', 'apx:q:born', 'apx:q:behind:', 120000
local USAGE = 'apx:usage'
local DROPS, QUANTUM, QUANTUM_MS = 500, 8, 100

-- What a script writes to the hashes and sets that all lanes share goes in one command at its end: a command costs
-- several microseconds, a field of it less than one.
local started, ended, leased, used, woken = {}, {}, {}, {}, false

local function write_running()
  if #started > 0 then call('HSET', RUNNING, unpack(started)) end
  if #ended > 0 then call('HDEL', RUNNING, unpack(ended)) end
  started, ended = {}, {}
end

local function note_running(id, at, attempts)
  started[#started + 1] = id
  started[#started + 1] = at .. ':' .. attempts
  call('PUBLISH', NOTICE .. id, 's')
end

local function write_used()
  if #used > 0 then call('XADD', USAGE, '*', unpack(used)) end
  used = {}
end

local function note_used(kind, value)
  used[#used + 1] = kind .. #used -- a field's name is there once in an entry
  used[#used + 1] = value
  if #used >= 1000 and kind ~= 'c' then write_used() end
end

-- The end of every script that moves lanes; `tell`: idle workers look again when something became ready or due.
local function write_shared(tell)
  write_running()
  write_used()
  if #leased > 0 then call('ZADD', LEASES, unpack(leased)) end
  if woken and tell then call('PUBLISH', WAKE, '') end
end

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- For how long this store has had its data: since it was asked for the first time.
local function age_ms(now)
  local born = call('GET', BORN)
  if born then return now - tonumber(born) end
  call('SET', BORN, now)
  return 0
end

local function owner(lane)
  return string.match(lane, '^([^:]*):([^:]*):')
end

-- A product of APX's own: its requests are no usage.
local function is_own(product)
  return string.sub(product, 1, 4) == 'apx-'
end

local function count(key, field, by)
  if call('HINCRBY', key, field, by) <= 0 then call('HDEL', key, field) end
end

local function offer_org(product, org)
  if call('RPUSH', RING .. product, org) == 1 then call('RPUSH', READY, product) end
  woken = true
end

local function offer_lane(product, org, lane, first)
  local lanes = call(first and 'LPUSH' or 'RPUSH', LANES .. product .. ':' .. org, lane)
  if lanes == 1 then offer_org(product, org) end
  woken = true
end

-- One delivery of (product, org) is over: what was parked for it takes its turn again.
local function leave(product, org)
  count(INFLIGHT, product, -1)
  count(INFLIGHT, product .. ':' .. org, -1)
  if call('SREM', PARKED, product .. ':' .. org) == 1 then offer_org(product, org) end
  if call('SREM', PARKED, product) == 1 then
    call('RPUSH', READY, product)
    woken = true
  end
end

local function drop_head(lane, product, org, id)
  call('LTRIM', LANE .. lane, 1, -1)
  ended[#ended + 1] = id
  if #ended == 1000 then write_running() end
  count(DEPTH, product .. ':' .. org, -1)
end

-- What is counted of a queued request: `Accepted` of usage/events.py, from `Envelope` of requests/model.py. The eleventh
-- field is the body, of a type that cmsgpack does not read: the fields before it and those after it are read apart.
local function accepted(head)
  local array = string.find(head, ' ', 1, true) + 1
  local first = array + (string.byte(head, array) == 0xdc and 3 or 1)
  local before = {cmsgpack.unpack_limit(head, 10, first - 1)}
  local size_bytes, at = 0, before[1] + 2
  for _ = 1, ({[0xc4] = 1, [0xc5] = 2, [0xc6] = 4})[string.byte(head, at - 1)] do
    size_bytes, at = size_bytes * 256 + string.byte(head, at), at + 1
  end
  local after = {cmsgpack.unpack(string.sub(head, at + size_bytes))}
  local plan, cost, cost_usd = after[9] or '', after[10] or 1, after[11]
  return {before[2], before[3], before[5], plan, before[4], before[6], after[1], size_bytes, cost, cost_usd}
end

-- A request that got its result from outside a delivery leaves its lane: only here its result and its envelope, which
-- knows the key and the plan, are at hand together.
local function drop_ended(lane, product, org, id)
  if not is_own(product) and call('EXISTS', KNOWN .. id) == 0 then -- a journal tells of what it keeps
    local head = call('LINDEX', LANE .. lane, 0)
    note_used('c', cmsgpack.pack(accepted(head)))
    note_used('r', call('GET', RESULT .. id))
  end
  drop_head(lane, product, org, id)
end

local function fence_of(id)
  local head = call('GETRANGE', RESULT .. id, 0, 20)
  return string.match(head, '^(%d+)\n')
end

-- Start the head's next attempt under `fence`, after so many `attempts` and `crashes`, dropping heads that have a result already (cancelled while they waited).
-- Returns {envelope, attempt, fence, crashes}; else nil, and whether the lane still has something (many were dropped).
local function start_head(lane, product, org, fence, attempts, crashes, now, lease_ms, turn, begin)
  for _ = 1, DROPS do
    local head = call('LINDEX', LANE .. lane, 0)
    if not head then
      call('DEL', STATE .. lane)
      return nil, false
    end
    local space = string.find(head, ' ', 1, true)
    local id = string.sub(head, 1, space - 1)
    if call('EXISTS', RESULT .. id) == 0 then
      attempts = attempts + 1
      call('HSET', STATE .. lane, 'f', fence, 'h', id, 'n', attempts, 'c', crashes, 'q', turn, 'b', begin)
      leased[#leased + 1] = now + lease_ms
      leased[#leased + 1] = lane
      note_running(id, now, attempts)
      return {string.sub(head, space + 1), attempts, fence, crashes}
    end
    drop_ended(lane, product, org, id)
    attempts, crashes = 0, 0
  end
  call('DEL', STATE .. lane)
  return nil, true
end

