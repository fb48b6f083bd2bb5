-- Add to event streams. ARGV: most entries, ttl_ms, then id, kind and data of each. Nothing follows a result.
for at = 3, #ARGV, 3 do
  local id = ARGV[at]
  if call('EXISTS', RESULT .. id) == 0 then
    local stream = 'apx:ev:' .. id
    call('XADD', stream, 'MAXLEN', ARGV[1], '*', ARGV[at + 1], ARGV[at + 2])
    call('PEXPIRE', stream, ARGV[2])
    call('PUBLISH', NOTICE .. id, 'e')
  end
end
return #ARGV
