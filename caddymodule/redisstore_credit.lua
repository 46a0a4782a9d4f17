-- The share of one commitment in the credit of a day.
--
-- KEYS[1]  the sums of the day: a hash, with the sum of all users in field a
-- ARGV[1]  field of the commitment's share
-- ARGV[2]  field of its user's sum
-- ARGV[3]  the share, in micros
-- ARGV[4]  cap of the user's sum, in micros; negative: give the share back
-- ARGV[5]  cap of the sum of all, in micros
-- ARGV[6]  how long the day is remembered from now on, in seconds
--
-- Answers 0 if a cap would be exceeded, 1 if there is nothing to do, 2 if it was
-- done.
local stands = redis.call('HEXISTS', KEYS[1], ARGV[1])
if tonumber(ARGV[4]) < 0 then
  if stands == 0 then
    return 1
  end
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HINCRBY', KEYS[1], ARGV[2], '-' .. ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'a', '-' .. ARGV[3])
  return 2
end
if stands == 1 then
  return 1
end
local sums = redis.call('HMGET', KEYS[1], ARGV[2], 'a')
local share = tonumber(ARGV[3])
if tonumber(sums[1] or 0) + share > tonumber(ARGV[4]) or tonumber(sums[2] or 0) + share > tonumber(ARGV[5]) then
  return 0
end
redis.call('HINCRBY', KEYS[1], ARGV[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'a', ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], '1')
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 2
