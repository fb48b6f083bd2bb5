-- Add what a process has seen, stamped by the server's clock: once to the second, once to the minute.
-- ARGV: process, most pairs in a hash, ttl of a second, of a minute, of a writer (s), then for each product: its name,
-- how many pairs follow, and of each pair its release and its org (both as msgpack) and its counts (as they are kept).
-- Counts are kept flat (msgpack): how many plain counters there are, these, then bucket and count of each latency.
local process, most, ttl_second, ttl_minute, ttl_writer = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local PAIR, NO_ORG = '\146', '\160' -- msgpack: an array of two, an empty string
local pack, unpacked = cmsgpack.pack, cmsgpack.unpack

local function added(old, new)
  local total, more, found = unpacked(old), unpacked(new), {}
  -- Another version of APX may count fewer things; its counters are the first of these.
  if more[1] > total[1] then
    total, more = more, total
  end
  for at = 2, more[1] + 1 do
    total[at] = total[at] + more[at]
  end
  for at = total[1] + 2, #total, 2 do
    found[total[at]] = at + 1
  end
  for at = more[1] + 2, #more, 2 do
    local place = found[more[at]]
    if place then
      total[place] = total[place] + more[at + 1]
    else
      total[#total + 1] = more[at]
      total[#total + 1] = more[at + 1]
    end
  end
  return pack(total)
end

local function sum(key, ttl, items)
  local have = redis.call('HLEN', key)
  local room, stored, changed = most - have, {}, {}
  if have > 0 then
    local fields = {}
    for at, item in ipairs(items) do
      fields[at] = item.field
    end
    stored = redis.call('HMGET', key, unpack(fields))
  end
  for at, item in ipairs(items) do
    local field, old = item.field, stored[at]
    if not old and not changed[field] and field ~= item.rest then
      if room > 0 then
        room = room - 1
      else
        field = item.rest
        old = redis.call('HGET', key, field)
      end
    end
    old = changed[field] or old
    changed[field] = old and added(old, item.counts) or item.counts
  end
  local set = {}
  for field, counts in pairs(changed) do
    set[#set + 1] = field
    set[#set + 1] = counts
  end
  redis.call('HSET', key, unpack(set))
  redis.call('EXPIRE', key, ttl)
end

local time = redis.call('TIME')
local second = tonumber(time[1])
local now_ms = second * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', 'apx:counts:writers', now_ms, process)
redis.call('ZREMRANGEBYSCORE', 'apx:counts:writers', '-inf', '(' .. now_ms - ttl_writer * 1000)
local at = 6
while at < #ARGV do
  local product, items = ARGV[at], {}
  for number = 1, tonumber(ARGV[at + 1]) do
    local release = ARGV[at + number * 3 - 1]
    items[number] = {
      field = PAIR .. release .. ARGV[at + number * 3],
      rest = PAIR .. release .. NO_ORG,
      counts = ARGV[at + number * 3 + 1],
    }
  end
  sum('apx:counts:s:' .. string.format('%d', second) .. ':' .. product, ttl_second, items)
  sum('apx:counts:m:' .. string.format('%d', math.floor(second / 60)) .. ':' .. product, ttl_minute, items)
  at = at + 2 + 3 * #items
end
return #ARGV
