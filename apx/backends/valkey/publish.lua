-- Queue a batch. ARGV: producer, number of the batch, then ten for each envelope (see bus.py).
-- Returns for each: 'a' accepted, 'b' backlog, 'd' .. id duplicate, 'c' .. id conflict.
-- A producer numbers its batches and sends one at a time: the same number again gets the first outcome, an older one
-- (a batch that was given up and arrives late) does nothing.
local producer, number = 'apx:q:producer:' .. ARGV[1], tonumber(ARGV[2])
local last = call('GET', producer)
if last then
  local outcome = cjson.decode(last)
  if outcome[1] == number then return outcome[2] end
  if outcome[1] > number then return redis.error_reply('STALE the batch was given up') end
end

local function repeated(name, id, fingerprint)
  local stored = call('GET', name)
  if not stored then return nil end
  local space = string.find(stored, ' ', 1, true)
  local same = string.sub(stored, space + 1) == fingerprint
  return (same and 'd' or 'c') .. string.sub(stored, 1, space - 1)
end

local function full(owned, bound)
  local depth = tonumber(call('HGET', DEPTH, owned) or 0)
  if depth < bound then return false end
  return depth - tonumber(call('HGET', INFLIGHT, owned) or 0) >= bound
end

-- Where a journal keeps the requests, each is remembered by its id as long as it may be offered again.
local function known(id)
  return call('EXISTS', KNOWN .. id) == 1 or call('EXISTS', RESULT .. id) == 1
end

local outcomes = {}
for at = 3, #ARGV, 10 do
  local product, org, lane, id, element = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local name, fingerprint, ttl_s = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local owned, known_ms = product .. ':' .. org, tonumber(ARGV[at + 9])
  local outcome = name ~= '' and repeated('apx:idem:' .. name, id, fingerprint)
  if not outcome and known_ms > 0 and known(id) then outcome = 'd' .. id end
  if not outcome and full(owned, tonumber(ARGV[at + 8])) then outcome = 'b' end
  if not outcome then
    outcome = 'a'
    if name ~= '' then call('SET', 'apx:idem:' .. name, id .. ' ' .. fingerprint, 'EX', ttl_s) end
    if known_ms > 0 then call('SET', KNOWN .. id, '', 'PX', known_ms) end
    call('HINCRBY', DEPTH, owned, 1)
    if call('RPUSH', LANE .. lane, element) == 1 then offer_lane(product, org, lane, false) end
  end
  outcomes[#outcomes + 1] = outcome
end
call('SET', producer, cjson.encode({number, outcomes}), 'PX', 600000)
write_shared(true)
return outcomes
