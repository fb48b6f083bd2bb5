-- A reader of usage goes on, and what all of them have read is dropped. ARGV: reader, last entry that it read, every reader.
local USAGE, READ = 'apx:usage', 'apx:usage:read'

local function parts(entry)
  local moment, number = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(moment), tonumber(number)
end

local function before(one, other)
  local moment, number = parts(one)
  local its_moment, its_number = parts(other)
  if moment == its_moment then return number < its_number end
  return moment < its_moment
end

local reader, position = ARGV[1], ARGV[2]
local stands = redis.call('HGET', READ, reader)
if not stands or before(stands, position) then redis.call('HSET', READ, reader, position) end

local slowest = position
for at = 3, #ARGV do
  local read = redis.call('HGET', READ, ARGV[at])
  if not read then return 0 end
  if before(read, slowest) then slowest = read end
end
local moment, number = string.match(slowest, '^(%d+)-(%d+)$')
return redis.call('XTRIM', USAGE, 'MINID', string.format('%s-%d', moment, tonumber(number) + 1))
