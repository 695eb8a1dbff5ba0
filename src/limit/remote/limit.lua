-- One decision of a rate limit, or a later correction of it, as one atomic step on the server.
--
-- KEYS[1]  the state of one key of one limit
-- ARGV     1 time in µs since 1970, or "" for the server's own (only tests bring a time)
--          2 what to do: take, charge or give-back
--          3 algorithm: window, fixed or bucket
--          4 calls, or the burst of a bucket
--          5 period in µs
--          6 units to count
--          7 take: which requests count: admitted, all or later
--            give-back: when it was decided, in µs; for a bucket ':' and when it was to be full follow
--          8 window: the width of a slot in µs, 0 for exact times
--            fixed: clock or first-call
--            bucket: calls for each period
--          9 take: the least units; where not all fit, as many are taken as do, but no less
-- Answers  admitted, remaining, retry after (-1 never), until there is more, until it is full, time, units; times in µs
--
-- Numbers are doubles, exact up to 2^53: microseconds since 1970 reach that in the year 2255.
local key, op, algorithm = KEYS[1], ARGV[2], ARGV[3]
local limit, period, units = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
else
  now = tonumber(ARGV[1])
end

local function text(number)
  return string.format('%.0f', number)
end

local function keep(full_at)
  -- State is forgotten once it is as good as none, so that forgetting it cannot be noticed.
  redis.call('PEXPIREAT', key, text(math.ceil(full_at / 1000) + 1))
end

local function answer(admitted, remaining, retry_after, more, full)
  return { admitted and 1 or 0, math.max(0, remaining), retry_after, math.max(0, more), math.max(0, full), now, units }
end

local function fitting(room)
  return math.max(tonumber(ARGV[9]), math.min(units, room))
end

local function counted(count, admitted, most)
  if count == 'later' or (count == 'admitted' and not admitted) then
    return 0
  end
  return math.min(units, most)
end

-- The window: a list of 'time:units', oldest first, and behind them the sum of all units.
local function window()
  local width = tonumber(ARGV[8])
  local length = period
  local at = now
  if width > 0 then
    -- A unit counts from the end of its slot, so that it stays until all of the slot has left the window.
    at = math.floor(now / width) * width + width
    length = math.ceil(period / width) * width
  end
  local size = redis.call('LLEN', key)
  local used = 0
  local function read(entry)
    local colon = string.find(entry, ':', 1, true)
    return tonumber(string.sub(entry, 1, colon - 1)), tonumber(string.sub(entry, colon + 1))
  end
  local function drop_oldest(count)
    redis.call('LPOP', key)
    size = size - 1
    used = used - count
  end
  local function store_sum()
    if size > 1 then
      redis.call('LSET', key, -1, text(used))
    elseif size == 1 then
      redis.call('DEL', key)
      size = 0
    end
  end
  if size > 0 then
    used = tonumber(redis.call('LINDEX', key, -1))
    local before = size
    while size > 1 do
      local time, count = read(redis.call('LINDEX', key, 0))
      if now - time < length then
        break
      end
      drop_oldest(count)
    end
    if size ~= before then
      store_sum()
    end
  end
  local function freed_at(needed)
    local freed, from, time = 0, 0, now - length
    while from < size - 1 do
      local to = math.min(from + 99, size - 2)
      for _, entry in ipairs(redis.call('LRANGE', key, from, to)) do
        local count
        time, count = read(entry)
        freed = freed + count
        if freed >= needed then
          return time + length
        end
      end
      from = to + 1
    end
    return time + length
  end
  local function last()
    if size < 2 then
      return nil
    end
    return read(redis.call('LINDEX', key, -2))
  end
  local function note(count)
    local time, there = last()
    if time and time >= at then
      redis.call('LSET', key, -2, text(time) .. ':' .. text(there + count))
      used = used + count
      redis.call('LSET', key, -1, text(used))
      at = time
    else
      used = used + count
      if size > 0 then
        redis.call('LSET', key, -1, text(at) .. ':' .. text(count))
        redis.call('RPUSH', key, text(used))
        size = size + 1
      else
        redis.call('RPUSH', key, text(at) .. ':' .. text(count), text(used))
        size = 2
      end
    end
    -- The newest `limit` units decide everything, so that times charged beyond them need not be told apart. The units are kept,
    -- because some of the newest may be given back.
    while width == 0 and size - 1 > limit do
      local _, oldest = read(redis.call('LPOP', key))
      local next_time, next_count = read(redis.call('LINDEX', key, 0))
      redis.call('LSET', key, 0, text(next_time) .. ':' .. text(next_count + oldest))
      size = size - 1
    end
    keep(at + length)
  end
  if op == 'charge' then
    if units > 0 then
      note(units)
    end
    return answer(true, limit - used, 0, 0, 0)
  end
  if op == 'give-back' then
    local decided = tonumber(ARGV[7])
    if width > 0 then
      decided = math.floor(decided / width) * width + width
    end
    local from = size - 2
    while from >= 0 do
      local to = from
      from = math.max(0, to - 99)
      local entries = redis.call('LRANGE', key, from, to)
      for index = #entries, 1, -1 do
        local time, count = read(entries[index])
        if time < decided then
          return answer(true, limit - used, 0, 0, 0)
        end
        if time == decided then
          local back = math.min(units, count)
          used = used - back
          if back == count then
            redis.call('LSET', key, from + index - 1, '')
            redis.call('LREM', key, 1, '')
            size = size - 1
          else
            redis.call('LSET', key, from + index - 1, text(time) .. ':' .. text(count - back))
          end
          store_sum()
          return answer(true, limit - used, 0, 0, 0)
        end
      end
      from = from - 1
    end
    return answer(true, limit - used, 0, 0, 0)
  end
  units = fitting(limit - used)
  local admitted = units == 0 or used + units <= limit
  local add = counted(ARGV[7], admitted, limit)
  if add > 0 then
    note(add)
  end
  local retry_after = 0
  if not admitted then
    retry_after = units > limit and -1 or freed_at(used + units - limit) - now
  end
  local more, full = 0, 0
  if used > 0 then
    more = freed_at(math.max(used + 1 - limit, 1)) - now
    full = last() + length - now
  end
  return answer(admitted, limit - used, retry_after, more, full)
end

-- The fixed window: 'end:units'.
local function fixed()
  local ends, used = 0, 0
  local state = redis.call('GET', key)
  if state then
    local colon = string.find(state, ':', 1, true)
    ends, used = tonumber(string.sub(state, 1, colon - 1)), tonumber(string.sub(state, colon + 1))
    if now >= ends then
      used = 0
    end
  end
  if used == 0 then
    ends = ARGV[8] == 'clock' and now - now % period + period or now + period
  end
  local function store()
    redis.call('SET', key, text(ends) .. ':' .. text(used))
    keep(ends)
  end
  if op == 'charge' then
    if units > 0 then
      used = used + units
      store()
    end
    return answer(true, limit - used, 0, 0, 0)
  end
  if op == 'give-back' then
    local decided = tonumber(ARGV[7])
    if used > 0 and decided < ends and decided >= ends - period then
      used = used - math.min(units, used)
      store()
    end
    return answer(true, limit - used, 0, 0, 0)
  end
  units = fitting(limit - used)
  local admitted = units == 0 or used + units <= limit
  local add = counted(ARGV[7], admitted, limit)
  if add > 0 then
    used = used + add
    store()
  end
  local retry_after = 0
  if not admitted then
    retry_after = units > limit and -1 or ends - now
  end
  local left = used > 0 and ends - now or 0
  return answer(admitted, limit - used, retry_after, left, left)
end

-- The bucket: 'time:missing:period:burst:since:back'. What is missing is kept in units of 1/period of a token, so that nothing is
-- rounded: it falls by `calls` in each microsecond. `since` is when it was full last, `back` what was given back since.
local function bucket()
  local calls = tonumber(ARGV[8])
  local whole = limit * period
  local missing, since, back = 0, now, 0
  local state = redis.call('GET', key)
  if state then
    local at, was, old_period, old_burst, old_since, old_back =
      string.match(state, '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
    at, was, old_period, old_burst = tonumber(at), tonumber(was), tonumber(old_period), tonumber(old_burst)
    since, back = tonumber(old_since), tonumber(old_back)
    now = math.max(now, at)
    if old_period ~= period or old_burst ~= limit then
      -- Another limit counted until now: the same share of the new one is used.
      was = math.ceil(math.min(was / (old_period * old_burst), 1) * whole)
      since, back = now, 0
    end
    missing = math.max(0, was - (now - at) * calls)
    if missing == 0 then
      since, back = now, 0
    end
  end
  local function store()
    local fields = { text(now), text(missing), text(period), text(limit), text(since), text(back) }
    redis.call('SET', key, table.concat(fields, ':'))
    keep(now + missing / calls)
  end
  local function remaining()
    return math.floor(math.max(0, whole - missing) / period)
  end
  if op == 'charge' then
    if units > 0 then
      missing = missing + units * period
      store()
    end
    return answer(true, remaining(), 0, 0, 0)
  end
  if op == 'give-back' then
    -- Without the units, and without all that was given back before them, the bucket would have been full so much earlier, and
    -- what flows into a full bucket is lost: that part does not come back. Nothing does once it has been full.
    local decided, full_at = string.match(ARGV[7], '^(%d+):(%d+)$')
    if missing > 0 and tonumber(decided) >= since then
      local room = math.max(0, (tonumber(full_at) - now) * calls - back)
      local less = math.min(units * period, room)
      missing = math.max(0, missing - less)
      back = back + less
      store()
    end
    return answer(true, remaining(), 0, 0, 0)
  end
  units = fitting(remaining())
  local price = units * period
  local admitted = units == 0 or missing + price <= whole
  local count = ARGV[7]
  if count == 'all' or (count == 'admitted' and admitted) then
    local wanted = math.max(missing, math.min(missing + price, whole))
    if wanted ~= missing then
      missing = wanted
      store()
    end
  end
  local retry_after = 0
  if not admitted then
    retry_after = units > limit and -1 or math.ceil((missing + price - whole) / calls)
  end
  local more = 0
  if missing >= whole then
    more = math.ceil((missing - whole + period) / calls)
  elseif missing > 0 then
    more = math.ceil(((missing - 1) % period + 1) / calls)
  end
  return answer(admitted, remaining(), retry_after, more, math.ceil(missing / calls))
end

if algorithm == 'window' then
  return window()
elseif algorithm == 'fixed' then
  return fixed()
end
return bucket()
