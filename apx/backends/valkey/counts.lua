-- Add what a process has seen, stamped by the server's clock: once to the second, once to the minute.
-- ARGV: process, most pairs in a hash, ttl of a second, of a minute, of a writer (s), then for each product: its name,
-- how many pairs follow, and of each pair its release and its org (both as msgpack) and its counts (msgpack, named).
local process, most, ttl_second, ttl_minute, ttl_writer = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local PLAIN = { 'requests', 'denied', 'compared', 'newly_denied', 'policy_failures', 'answers', 'errors' }
local PAIR, NO_ORG = '\146', '\160' -- msgpack: an array of two, an empty string

-- A stored pair is flat: the plain counters in their order, then bucket and count of each latency.
local function add(flat, counts)
  for at, name in ipairs(PLAIN) do
    flat[at] = flat[at] + (counts[name] or 0)
  end
  local found = {}
  for at = #PLAIN + 1, #flat, 2 do
    found[flat[at]] = at + 1
  end
  for bucket, count in pairs(counts.latency or {}) do
    local at = found[bucket]
    if at then
      flat[at] = flat[at] + count
    else
      flat[#flat + 1], flat[#flat + 2] = bucket, count
    end
  end
end

local function sum(key, ttl, items)
  local room = most - redis.call('HLEN', key)
  local fields = {}
  for at, item in ipairs(items) do
    fields[at] = item.field
  end
  local stored = redis.call('HMGET', key, unpack(fields))
  local changed = {}
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
    changed[field] = changed[field] or (old and cmsgpack.unpack(old)) or { 0, 0, 0, 0, 0, 0, 0 }
    add(changed[field], item.counts)
  end
  local set = {}
  for field, flat in pairs(changed) do
    set[#set + 1], set[#set + 2] = field, cmsgpack.pack(flat)
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
      counts = cmsgpack.unpack(ARGV[at + number * 3 + 1]),
    }
  end
  sum('apx:counts:s:' .. string.format('%d', second) .. ':' .. product, ttl_second, items)
  sum('apx:counts:m:' .. string.format('%d', math.floor(second / 60)) .. ':' .. product, ttl_minute, items)
  at = at + 2 + 3 * #items
end
return #ARGV
