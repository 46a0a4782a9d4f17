-- Compare and swap of one commitment.
--
-- KEYS[1]  the commitment: a hash, whose field v holds the tags of its newest versions
-- ARGV[1]  v as the caller saw it last; empty: the key did not exist
-- ARGV[2]  v after this; empty: only compare
-- ARGV[3]  how long the key lives from now on, in milliseconds; 0: as before
-- ARGV[4]  how many pairs of field and value follow; what follows them are fields to delete
--
-- Answers 1 if v is what the caller saw, and all that stands there otherwise.
local stands = redis.call('HGET', KEYS[1], 'v') or ''
if stands ~= ARGV[1] then
  return redis.call('HGETALL', KEYS[1])
end
if ARGV[2] == '' then
  return 1
end
local first, last = 5, 4 + 2 * tonumber(ARGV[4])
-- unpack takes a few thousand values at most.
for from = first, last, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, from, math.min(from + 999, last)))
end
for from = last + 1, #ARGV, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, from, math.min(from + 999, #ARGV)))
end
redis.call('HSET', KEYS[1], 'v', ARGV[2])
if ARGV[3] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
