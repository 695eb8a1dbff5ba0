-- The permits of one key of a concurrency limit, as one atomic step on the server. A permit is a lease: it ends by itself when
-- the gateway that holds it is gone and renews it no more.
--
-- KEYS[1]  a sorted set: who holds a permit, by the time at which it ends
-- ARGV     1 what to do: take, renew or release
--          2 the most permits
--          3 the length of a lease in ms
--          4 … who holds the permits
-- Answers  how many permits were given, renewed or released, and how many are held
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ends = string.format('%.0f', now + tonumber(ARGV[3]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local held = redis.call('ZCARD', KEYS[1])
local done = 0
for index = 4, #ARGV do
  if ARGV[1] == 'take' then
    if held < tonumber(ARGV[2]) then
      redis.call('ZADD', KEYS[1], ends, ARGV[index])
      held = held + 1
      done = done + 1
    end
  elseif ARGV[1] == 'renew' then
    -- One that ended in an outage is taken again: its request still runs.
    local before = held
    held = held + redis.call('ZADD', KEYS[1], ends, ARGV[index])
    done = done + 1
  else
    local gone = redis.call('ZREM', KEYS[1], ARGV[index])
    held = held - gone
    done = done + gone
  end
end
if held > 0 and ARGV[1] ~= 'release' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return { done, held }
