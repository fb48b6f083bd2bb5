-- Append to the audit log when its head is the expected one; entries and head in one step.
-- ARGV: expected head (JSON, empty for none), new head, number of the first entry, entries (JSON)
if (redis.call('GET', 'apx:chain:head') or '') ~= ARGV[1] then
  return 0
end
-- First, for it fails before anything is written when there are entries behind the head.
for n = 4, #ARGV do
  redis.call('XADD', 'apx:chain', string.format('%d-0', tonumber(ARGV[3]) + n - 4), 'entry', ARGV[n])
end
redis.call('SET', 'apx:chain:head', ARGV[2])
return 1
