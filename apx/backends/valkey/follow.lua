-- Read a request's stream from an entry on, with its result and progress, at one moment. ARGV: id, start, most.
local id = ARGV[1]
return {
  call('XRANGE', 'apx:ev:' .. id, ARGV[2], '+', 'COUNT', ARGV[3]),
  call('GET', RESULT .. id),
  call('HGET', RUNNING, id),
}
