r"""What Redis runs for us: one Lua script for each operation, so each is one thing at one moment.

Layout, all of it under `dspex:` (docs/store.md describes it for operators):

- `dspex:store`, a hash: `id` of this store, `schema`, `commits` made, `epochs` given, `run` that
  last served it; `dspex:eras`, a list: at which commit each run of a server began;
- `dspex:record:<collection>\0<id>`, a hash: `r` revision, `b` body, `e` when it is over;
- `dspex:ids:<collection>`, a sorted set of its ids, all with score 0 and so in order of bytes;
- `dspex:expiries`, a sorted set of the records that have a time, by that time;
- `dspex:journal:<name>`, a list;
- `dspex:lease:<name>`, a hash: `o` owner, `n` epoch, `e` when it is over; `dspex:leases`, a sorted
  set of their names by that time.

Times are microseconds of Redis's own clock, and no key has a time to live of Redis's: what is
over is removed by `EXPIRE` here, so no eviction policy of the `volatile` kind can touch anything.

A script is not undone when it fails in the middle. So each one reads, with the very commands that
fail on a key of another kind, before it writes; and Redis refuses a script for want of memory
only at its first write. Counting the commit comes last for that reason: a script that begins by
deleting is never refused, and that is how room is made.

Every answer begins with the store's id and the number of commits, so that one which has lost
any is found out.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

SCHEMA: Final = 1


class Script(NamedTuple):
    """A script and the name that Redis gives it."""

    text: bytes
    sha: bytes


_COMMON: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function text(number) return string.format('%.0f', number) end
local function head()
  local store = redis.call('HMGET', 'dspex:store', 'id', 'commits')
  return store[1], store[2]
end
local function done(...)
  local commits = redis.call('HINCRBY', 'dspex:store', 'commits', 1)
  return {redis.call('HGET', 'dspex:store', 'id'), text(commits), ...}
end
-- After this Redis does not refuse the script for want of memory: it is for what frees some, and
-- for leases, without which those who work could not end what they have begun.
local function even_when_full() redis.call('DEL', 'dspex:nothing') end
"""


def _script(text: str) -> Script:
    whole = (_COMMON + text).encode()
    return Script(whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest().encode())


HELLO: Final = _script("""
-- ARGV: run of this server or '' on a replica, id for a new store, schema, last era known
local run, fresh, schema, era = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local store = redis.call('HMGET', 'dspex:store', 'id', 'schema', 'commits', 'run')
if not store[1] then
  if run == '' then return {'', schema, '0', text(now()), '0', {}} end
  even_when_full()
  redis.call('HSET', 'dspex:store', 'id', fresh, 'schema', schema, 'commits', '0')
  store = {fresh, schema, '0', false}
end
if store[2] == schema and run ~= '' and store[4] ~= run then
  -- Where this is not permitted now (the disk is full), reading goes on without it.
  local written = redis.pcall('DEL', 'dspex:nothing')
  if type(written) == 'number' then
    redis.call('RPUSH', 'dspex:eras', store[3] .. ':' .. run)
    redis.call('HSET', 'dspex:store', 'run', run)
  end
end
return {store[1], store[2], store[3], text(now()), text(redis.call('LLEN', 'dspex:eras')),
  redis.call('LRANGE', 'dspex:eras', math.max(era - 1, 0), -1)}
""")

GET: Final = _script("""
-- ARGV: record, …
local id, commits = head()
local moment, found = now(), {}
for i, key in ipairs(ARGV) do
  local record = redis.call('HMGET', key, 'r', 'b', 'e')
  if record[1] and (not record[3] or tonumber(record[3]) > moment) then
    found[i] = {record[1], record[2]}
  else
    found[i] = false
  end
end
return {id, commits, found}
""")

SCAN: Final = _script("""
-- ARGV: ids, start of records, least, most, limit, '1' for backwards
local id, commits = head()
local ids, start, least, most, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local backwards = ARGV[6] == '1'
local moment, found = now(), {}
while #found < 3 * limit do
  local page
  if backwards then
    page = redis.call('ZREVRANGEBYLEX', ids, most, least, 'LIMIT', 0, limit)
  else
    page = redis.call('ZRANGEBYLEX', ids, least, most, 'LIMIT', 0, limit)
  end
  for _, one in ipairs(page) do
    if #found == 3 * limit then break end
    local record = redis.call('HMGET', start .. one, 'r', 'b', 'e')
    if record[1] and (not record[3] or tonumber(record[3]) > moment) then
      found[#found + 1] = one
      found[#found + 1] = record[1]
      found[#found + 1] = record[2]
    end
  end
  if #page < limit then break end
  if backwards then most = '(' .. page[#page] else least = '(' .. page[#page] end
end
return {id, commits, found}
""")

ENTRIES: Final = _script("""
-- ARGV: journal, first, last
local id, commits = head()
return {id, commits, redis.call('LRANGE', ARGV[1], ARGV[2], ARGV[3])}
""")

COMMIT: Final = _script("""
-- ARGV: deadline, number of fences, (lease, epoch), …, then changes, '' for what is not said:
-- 'P' record ids id body expected lasting, 'D' record ids id expected, 'A' journal body after,
-- 'X' journal
local at = 0
local function word() at = at + 1; return ARGV[at] end
local id, commits = head()
local moment = now()
if moment > tonumber(word()) then return {id, commits, 'late', text(moment)} end

for i = 1, tonumber(word()) do
  local lease, epoch = word(), word()
  if redis.call('HGET', lease, 'n') ~= epoch then return {id, commits, 'fenced', text(i)} end
end

local changes, lengths, numbers = {}, {}, {}
local function conflict(found) return {id, commits, 'conflict', text(#changes), text(found)} end
while at < #ARGV do
  local change = {kind = word(), key = word()}
  changes[#changes + 1] = change
  local number = 0
  if change.kind == 'P' or change.kind == 'D' then
    change.ids, change.id = word(), word()
    if change.kind == 'P' then change.body = word() end
    local expected = word()
    if change.kind == 'P' then change.lasting = word() end
    local record = redis.call('HMGET', change.key, 'r', 'e')
    change.was, change.ended = record[1], record[2]
    local found = tonumber(record[1]) or 0
    if record[2] and tonumber(record[2]) <= moment then found = 0 end
    if expected ~= '' and tonumber(expected) ~= found then return conflict(found) end
    if change.kind == 'P' then number = found + 1 end
  else
    local length = lengths[change.key] or redis.call('LLEN', change.key)
    if change.kind == 'A' then
      change.body = word()
      local after = word()
      if after ~= '' and tonumber(after) ~= length then return conflict(length) end
      number = length + 1
    end
    lengths[change.key] = number
  end
  numbers[#changes] = text(number)
end

for i, change in ipairs(changes) do
  if change.kind == 'P' then
    redis.call('HSET', change.key, 'r', numbers[i], 'b', change.body)
    if not change.was then redis.call('ZADD', change.ids, 0, change.id) end
    if change.lasting ~= '' then
      local over = text(moment + tonumber(change.lasting))
      redis.call('HSET', change.key, 'e', over)
      redis.call('ZADD', 'dspex:expiries', over, change.key)
    elseif change.ended then
      redis.call('HDEL', change.key, 'e')
      redis.call('ZREM', 'dspex:expiries', change.key)
    end
  elseif change.kind == 'D' then
    redis.call('DEL', change.key)
    redis.call('ZREM', change.ids, change.id)
    if change.ended then redis.call('ZREM', 'dspex:expiries', change.key) end
  elseif change.kind == 'A' then
    redis.call('RPUSH', change.key, change.body)
  else
    redis.call('UNLINK', change.key)
  end
end
return done('done', text(moment), numbers)
""")

LEASE: Final = _script("""
-- ARGV: name, owner, lasting
local name, owner, lasting = ARGV[1], ARGV[2], tonumber(ARGV[3])
local id, commits = head()
local key, moment = 'dspex:lease:' .. name, now()
local lease = redis.call('HMGET', key, 'o', 'n', 'e')
local epoch = lease[2]
if lease[1] and tonumber(lease[3]) > moment then
  if lease[1] ~= owner then
    return {id, commits, 'held', lease[1], text(tonumber(lease[3]) - moment)}
  end
else
  epoch = false
end
even_when_full()
if not epoch then epoch = text(redis.call('HINCRBY', 'dspex:store', 'epochs', 1)) end
local over = text(moment + lasting)
redis.call('HSET', key, 'o', owner, 'n', epoch, 'e', over)
redis.call('ZADD', 'dspex:leases', over, name)
return done('done', epoch)
""")

RELEASE: Final = _script("""
-- ARGV: name, epoch
local id, commits = head()
local key, moment = 'dspex:lease:' .. ARGV[1], now()
local lease = redis.call('HMGET', key, 'n', 'e')
if lease[1] ~= ARGV[2] or tonumber(lease[2]) <= moment then return {id, commits} end
even_when_full()
redis.call('HSET', key, 'e', text(moment))
redis.call('ZADD', 'dspex:leases', text(moment), ARGV[1])
return done()
""")

EXPIRE: Final = _script("""
-- ARGV: limit, how long leases are remembered
local limit, memory = tonumber(ARGV[1]), tonumber(ARGV[2])
local id, commits = head()
local moment = now()
local over = redis.call('ZRANGEBYSCORE', 'dspex:expiries', '-inf', text(moment), 'LIMIT', 0, limit)
local leases = redis.call('ZRANGEBYSCORE', 'dspex:leases', '-inf', text(moment - memory),
  'LIMIT', 0, limit - #over)
if #over + #leases == 0 then return {id, commits, '0'} end
local start = #'dspex:record:'
for _, key in ipairs(over) do
  local gap = string.find(key, '\\0', 1, true)
  redis.call('DEL', key)
  redis.call('ZREM', 'dspex:ids:' .. string.sub(key, start + 1, gap - 1), string.sub(key, gap + 1))
  redis.call('ZREM', 'dspex:expiries', key)
end
for _, name in ipairs(leases) do
  redis.call('DEL', 'dspex:lease:' .. name)
  redis.call('ZREM', 'dspex:leases', name)
end
return done(text(#over + #leases))
""")


def record_key(collection: str, id_: str) -> bytes:
    """Where a record is. No id has a NUL, so no two collections meet."""
    return b"%b%b" % (records_start(collection), id_.encode())


def records_start(collection: str) -> bytes:
    """What the keys of a collection's records begin with."""
    return b"dspex:record:%b\0" % collection.encode()


def ids_key(collection: str) -> bytes:
    """Where the ids of a collection are."""
    return b"dspex:ids:%b" % collection.encode()


def journal_key(name: str) -> bytes:
    """Where a journal is."""
    return b"dspex:journal:%b" % name.encode()


def lease_key(name: str) -> bytes:
    """Where a lease is."""
    return b"dspex:lease:%b" % name.encode()
