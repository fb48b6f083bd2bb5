-- Write a result from outside a delivery, if there is none. ARGV: id, result, retention_ms, state.
-- Returns what stands: false when it is this one.
local id = ARGV[1]
if call('SET', RESULT .. id, '0\n' .. ARGV[2], 'NX', 'PX', ARGV[3]) then
  call('PUBLISH', NOTICE .. id, 'r')
  if call('HEXISTS', RUNNING, id) == 1 then call('PUBLISH', 'apx:q:cancelled', id) end
  return false
end
return call('GET', RESULT .. id)
