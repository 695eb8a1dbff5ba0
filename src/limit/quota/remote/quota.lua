-- One decision of a quota, or a later correction of it, as one atomic step on the server.
--
-- KEYS[1]  what one key of one quota has used: a hash of 'c' and 'u' (calls, units), each with the end of its period, to a number
-- ARGV     1 time in ms since 1970, or "" for the server's own (only tests bring a time)
--          2 what to do: take or settle
--          3 end of the period that holds the time; its length where the key's first count begins it
--          4 first-call where the key's first count begins its period, else ""
--          5 up to when anything may count at most, or '+' and for how long from now: a schedule that became shorter ends what was
--            counted under the longer one
--          6 calls to count
--          7 units to count; settle: both may be negative, and give back
--          8 take: the most calls, or "" without a limit; settle: the end of the period that the request was counted in
--          9 take: the most units, or ""
--         10 from when, in ms, what stands in 3 is true, or "" for always
--         11 until when
-- Answers  0 when it was counted, 1 when calls and 2 when units are used up; calls used, units used, end of the period,
--          ms until the same is admitted (-1 never), ms until more calls are left and until more units are (-1 never);
--          or -1 and the time, when it is another period by now: then nothing was done
--
-- The server's clock decides, but it knows no calendar: the gateway says which period it takes it to be, and is told when it is not.
-- Numbers are doubles, exact up to 2^53. Times beyond NEVER do not come. What ended is kept for GRACE, in which a server that takes
-- over with a slower clock still finds it.
local NEVER, GRACE = 1000000000000000, 60000
local key, op = KEYS[1], ARGV[2]
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
else
  now = tonumber(ARGV[1])
end
if ARGV[10] ~= '' and (now < tonumber(ARGV[10]) or now >= tonumber(ARGV[11])) then
  return { -1, now, 0, 0, 0, 0, 0 }
end
local ends, latest = tonumber(ARGV[3]), tonumber(ARGV[5])
if string.sub(ARGV[5], 1, 1) == '+' then
  latest = now + latest
end
if ARGV[4] == 'first-call' then
  ends = now + ends
end
local calls, units = tonumber(ARGV[6]), tonumber(ARGV[7])

local function text(number)
  return string.format('%.0f', number)
end

local function forget(at)
  redis.call('HDEL', key, 'c' .. text(at), 'u' .. text(at))
end

local last = 0
local function add(at, more_calls, more_units)
  if more_calls ~= 0 then
    redis.call('HINCRBY', key, 'c' .. text(at), text(more_calls))
  end
  if more_units ~= 0 then
    redis.call('HINCRBY', key, 'u' .. text(at), text(more_units))
  end
  last = math.max(last, at)
  if last >= NEVER then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, text(last - now + GRACE))
  end
end

-- What is in use, by the end of its period.
local parts, live = {}, {}
local stored = redis.call('HGETALL', key)
for index = 1, #stored, 2 do
  local at = tonumber(string.sub(stored[index], 2))
  local part = parts[at] or { at = at, calls = 0, units = 0 }
  parts[at] = part
  part[string.sub(stored[index], 1, 1) == 'c' and 'calls' or 'units'] = tonumber(stored[index + 1])
end
local used_calls, used_units = 0, 0
local late = {}
for at, part in pairs(parts) do
  if at <= now - GRACE then
    forget(at)
  elseif at > now then
    if at > latest then
      late[#late + 1] = part
    else
      last = math.max(last, at)
    end
    live[#live + 1] = part
    used_calls, used_units = used_calls + part.calls, used_units + part.units
  end
end
for _, part in ipairs(late) do
  forget(part.at)
  part.at = latest
  add(latest, part.calls, part.units)
end
table.sort(live, function(one, other) return one.at < other.at end)
if ARGV[4] == 'first-call' and #live > 0 then
  ends = live[#live].at
end

if op == 'settle' then
  local counted = tonumber(ARGV[8])
  local there = parts[counted]
  local less_calls, less_units = math.max(0, -calls), math.max(0, -units)
  if there and counted > now - GRACE then
    add(counted, -math.min(less_calls, there.calls), -math.min(less_units, there.units))
  end
  if calls > 0 or units > 0 then
    -- It has been used, so it counts now when its own period is over.
    add(counted > now and counted or ends, math.max(0, calls), math.max(0, units))
  end
  return { 0, used_calls, used_units, ends, 0, 0, 0 }
end

-- How long until more is left of calls or units: 0 when nothing of them is used.
local function more(most, used, what)
  local fewer = math.min(used, most or 0) - 1
  for _, part in ipairs(live) do
    if fewer < 0 or used <= fewer then
      break
    end
    used = used - part[what]
    if used <= fewer then
      return part.at >= NEVER and -1 or part.at - now
    end
  end
  return 0
end

-- Units that are known beforehand must fit; others are known when the exchange has ended, and one must be left.
local most_calls, most_units, wanted = tonumber(ARGV[8]), tonumber(ARGV[9]), math.max(units, 1)
local over_calls = most_calls and used_calls + calls > most_calls
local over_units = most_units and used_units + wanted > most_units and (calls > 0 or units > 0)
if not over_calls and not over_units then
  if calls > 0 or units > 0 then
    add(ends, calls, units)
    used_calls, used_units = used_calls + calls, used_units + units
    live[#live + 1] = { at = ends, calls = calls, units = units }
    table.sort(live, function(one, other) return one.at < other.at end)
  end
  return { 0, used_calls, used_units, ends, 0, more(most_calls, used_calls, 'calls'), more(most_units, used_units, 'units') }
end
local room_calls = most_calls and most_calls - calls or math.huge
local room_units = most_units and most_units - wanted or math.huge
local wait = -1
if room_calls >= 0 and room_units >= 0 then
  local left_calls, left_units = used_calls, used_units
  for _, part in ipairs(live) do
    left_calls, left_units = left_calls - part.calls, left_units - part.units
    if left_calls <= room_calls and left_units <= room_units then
      wait = part.at >= NEVER and -1 or part.at - now
      break
    end
  end
end
return {
  over_calls and 1 or 2, used_calls, used_units, ends, wait,
  more(most_calls, used_calls, 'calls'), more(most_units, used_units, 'units'),
}
