-- Leases: who runs which shard. One script, run by EVAL (a Redis that was started again knows no functions of before); each run
-- is atomic. KEYS: the shard's lease and counter, or the nodes twice. ARGV: what to do, the owner, the time to live in ms, then as said below.
--
--   <prefix>lease:{<shard>}   "<epoch> <owner>", with a time to live: the holder. Absent: nobody holds the shard.
--   <prefix>epoch:{<shard>}   the last epoch given out. It has no time to live, but may be lost with all of Redis:
--                             callers name a floor that they have from the journal, and the journal refuses older epochs.
--   <prefix>nodes             field: a node's name; value: when that ends (ms of Redis' clock, as text), a space, what it says.
--
-- Both keys of a shard have the same hash tag, so that they lie on one node of a cluster.

local function last_epoch(key)
  return tonumber(redis.call('GET', key) or '0')
end

local function give(lease, counter, owner, ttl_ms, floor)
  local epoch = math.max(last_epoch(counter), floor) + 1
  redis.call('SET', counter, string.format('%.0f', epoch))
  redis.call('SET', lease, string.format('%.0f %s', epoch, owner), 'PX', ttl_ms)
  return epoch
end

-- A floor. The epoch; 0 where another holds it. Its holder gets the epoch that it has.
local function acquire(lease, counter, owner, ttl_ms, floor)
  local held = redis.call('GET', lease)
  if held then
    local epoch, holder = string.match(held, '^(%d+) (.*)$')
    return holder == owner and tonumber(epoch) or 0
  end
  return give(lease, counter, owner, ttl_ms, tonumber(floor))
end

-- An epoch. 1: held for another time to live. 0: another has, or had, it since. What ran out and nobody took is held again.
local function renew(lease, counter, owner, ttl_ms, epoch)
  local mine = epoch .. ' ' .. owner
  local held = redis.call('GET', lease)
  if held and held ~= mine then return 0 end
  if not held and last_epoch(counter) > tonumber(epoch) then return 0 end
  redis.call('SET', counter, epoch)
  redis.call('SET', lease, mine, 'PX', ttl_ms)
  return 1
end

-- An epoch. 1: it is nobody's now. 0: it was not this owner's.
local function release(lease, counter, owner, ttl_ms, epoch)
  if redis.call('GET', lease) ~= epoch .. ' ' .. owner then return 0 end
  return redis.call('DEL', lease)
end

-- An epoch, the next owner. Its epoch; 0 where the lease was lost.
local function hand_over(lease, counter, owner, ttl_ms, epoch, heir)
  if renew(lease, counter, owner, ttl_ms, epoch) == 0 then return 0 end
  return give(lease, counter, heir, ttl_ms, tonumber(epoch))
end

-- Redis' own clock, in ms: nodes need not agree about the time.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- What the node says. It is known for another time to live. 1: it was known until now. 0: it was not.
local function announce(nodes, _, name, ttl_ms, info)
  local now, ends = now_ms(), string.match(redis.call('HGET', nodes, name) or '', '^(%d+) ')
  redis.call('HSET', nodes, name, string.format('%.0f ', now + tonumber(ttl_ms)) .. info)
  return ends and now < tonumber(ends) and 1 or 0
end

-- Names and what they say, one after the other, of those that are known still. The others are swept out.
local function known(nodes)
  local now, all, found = now_ms(), redis.call('HGETALL', nodes), {}
  for i = 1, #all, 2 do
    local ends, info = string.match(all[i + 1], '^(%d+) (.*)$')
    if ends and now < tonumber(ends) then
      table.insert(found, all[i])
      table.insert(found, info)
    else
      redis.call('HDEL', nodes, all[i])
    end
  end
  return found
end

local calls = {
  acquire = acquire, renew = renew, release = release, hand_over = hand_over, announce = announce, known = known,
}
return calls[ARGV[1]](KEYS[1], KEYS[2], unpack(ARGV, 2))
