-- Write results from outside a delivery, where there are none. ARGV: id, result, retention_ms of each.
-- Returns for each what stands: false when it is this one.
local standing = {}
for at = 1, #ARGV, 3 do
  local id = ARGV[at]
  if call('SET', RESULT .. id, '0\n' .. ARGV[at + 1], 'NX', 'PX', ARGV[at + 2]) then
    call('PUBLISH', NOTICE .. id, 'r')
    if call('HEXISTS', RUNNING, id) == 1 then call('PUBLISH', 'apx:q:cancelled', id) end
    standing[#standing + 1] = false
  else
    standing[#standing + 1] = call('GET', RESULT .. id)
  end
end
return standing
