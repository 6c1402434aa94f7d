//! The Lua scripts: every operation that must be atomic on the server. The keys of one script have
//! the same hash tag, so that each script also runs on a Cluster. On a single server, some scripts
//! take further keys.
//!
//! The files of `entries`, and `fleet/leases`, call the scripts; `entries/keys` names the keys. The
//! scripts read the first 33 bytes of a stored value, which `entries/record` defines.
//!
//! Only the registrations of nodes use the server's clock. No script fails a removal because the
//! server's memory is full: removing a key's token refuses pending writes as well as replacing it.

use redis::Script;

/// The scripts, with their SHA-1 digests computed once.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) epoch: Script,
    pub(crate) barrier: Script,
    pub(crate) count_removal: Script,
    pub(crate) reserve: Script,
    pub(crate) lookup: Script,
    pub(crate) groups: Script,
    pub(crate) remove_group: Script,
    pub(crate) mark_group: Script,
    pub(crate) publish: Script,
    pub(crate) freshen: Script,
    pub(crate) evict: Script,
    pub(crate) remove: Script,
    pub(crate) release_bodies: Script,
    pub(crate) register: Script,
    pub(crate) synchronize: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
}

/// Functions that several scripts use.
///
/// `epoch` returns the epoch under a key, followed by the `run_id` of the server process that it
/// belongs to. With `check`, an epoch of another process counts as missing. A missing epoch is
/// created from the token `fresh`, unless that is ''. A server without memory for it has no epoch,
/// which makes all its entries stale.
///
/// `synchronize` publishes the next number to the registered nodes, and before it a message unless
/// it is ''. It returns the number and the nodes. Without nodes, it publishes nothing.
///
/// `barrier` returns the barrier's token and its counter of group removals, and creates it from
/// `fresh` if it is missing.
const FUNCTIONS: &str = "
local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end
local function epoch(key, fresh, ttl, check)
  local value = redis.call('GET', key)
  if not value or check then
    local run = run_id()
    if not value or string.sub(value, 9) ~= run then
      value = ''
      if fresh ~= '' then
        local set = redis.pcall('SET', key, fresh .. run, 'PX', ttl)
        if set.err then redis.call('DEL', key) else value = fresh .. run end
        return value
      end
    end
  end
  if fresh ~= '' then redis.call('PEXPIRE', key, ttl) end
  return value
end
local function barrier(key, fresh, ttl)
  local value = redis.call('HMGET', key, 'i', 'g')
  if not value[1] then
    redis.call('HSET', key, 'i', fresh, 'g', '0')
    value = {fresh, '0'}
  end
  redis.call('PEXPIRE', key, ttl)
  return value
end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function synchronize(registrations, acknowledgements, channel, prefix, message)
  local registered, nodes = redis.call('HGETALL', registrations), {}
  if #registered == 0 then return {0, nodes} end
  local current = now()
  for at = 1, #registered, 2 do
    if tonumber(registered[at + 1]) > current then
      table.insert(nodes, registered[at])
    else
      redis.call('HDEL', registrations, registered[at])
      redis.call('HDEL', acknowledgements, registered[at])
    end
  end
  if #nodes == 0 then return {0, nodes} end
  local number = redis.call('HINCRBY', acknowledgements, 'number', 1)
  redis.call('PEXPIRE', acknowledgements, 3600000)
  if message ~= '' then redis.call('PUBLISH', channel, message) end
  redis.call('PUBLISH', channel, prefix .. number)
  return {number, nodes}
end
local function number(bytes)
  local number = 0
  for at = 1, 8 do number = number * 256 + string.byte(bytes, at) end
  return number
end
local function release_body(name, grace)
  if redis.call('PTTL', name) > tonumber(grace) then redis.call('PEXPIRE', name, grace) end
end
local function release_body_of(record, bodies, grace)
  if string.len(record) < 33 or string.byte(record, 33) ~= 1 then return end
  local name = ''
  for at = 32, 25, -1 do name = name .. string.format('%02x', string.byte(record, at)) end
  release_body(bodies .. name, grace)
end
";

/// Replaces an epoch of another server process and returns the server's `run_id` and the epoch.
///
/// KEYS: epoch. ARGV: new token, TTL in ms.
const EPOCH: &str = "
local value = epoch(KEYS[1], ARGV[1], ARGV[2], true)
return {run_id(), value}";

/// Returns the barrier's token and its counter of group removals.
///
/// KEYS: barrier. ARGV: new token, TTL in ms.
const BARRIER: &str = "
return barrier(KEYS[1], ARGV[1], ARGV[2])";

/// Counts a group removal and returns the barrier's token and the removal's number.
///
/// KEYS: barrier. ARGV: new token, TTL in ms.
const COUNT_REMOVAL: &str = "
local value = barrier(KEYS[1], ARGV[1], ARGV[2])
return {value[1], tostring(redis.call('HINCRBY', KEYS[1], 'g', 1))}";

/// Returns the epoch, the key's token, the number of this reservation and, with a barrier, its
/// token and counter. Creates what is missing. A new token's counter begins above the numbers of
/// the stored variants, so that a lookup can sort them.
///
/// KEYS: token, epoch, entry, and (on a single server) barrier. ARGV: new token, TTL of the token
/// in ms, TTL of the epoch in ms, 1 to check the epoch's process.
const RESERVE: &str = "
local current = epoch(KEYS[2], ARGV[1], ARGV[3], ARGV[4] == '1')
local token = redis.call('HGET', KEYS[1], 't')
if not token then
  local last = 0
  for _, old in ipairs(redis.call('HVALS', KEYS[3])) do
    if string.len(old) >= 33 then last = math.max(last, number(string.sub(old, 17, 24))) end
  end
  token = ARGV[1]
  redis.call('HSET', KEYS[1], 't', token, 'n', string.format('%.0f', last))
end
local order = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local removals = {'', '0'}
if KEYS[4] then removals = barrier(KEYS[4], ARGV[1], ARGV[2]) end
return {current, token, tostring(order), removals[1], removals[2]}";

/// Returns the epoch, '' if it is missing or of another process, and the fields and values of an
/// entry. For a Cluster; a single server needs no script for that.
///
/// KEYS: entry, epoch.
const LOOKUP: &str = "
local variants = redis.pcall('HGETALL', KEYS[1])
if variants.err or #variants == 0 then return {'', {}} end
return {epoch(KEYS[2], '', '0', true), variants}";

/// Returns for each group its token, the barrier's token and the number of its last removal ('' and
/// '0' if there was none), and '1' if the token has just been created; then, with a barrier, the
/// barrier's token ('' if it is missing) and counter.
///
/// KEYS: groups, and (on a single server) barrier. ARGV: number of groups, new token, TTL in ms.
const GROUPS: &str = "
local reply = {}
for at = 1, tonumber(ARGV[1]) do
  local group = redis.call('HMGET', KEYS[at], 't', 'i', 'n')
  local created = '0'
  if not group[1] then
    created = '1'
    group[1] = ARGV[2]
    redis.call('HSET', KEYS[at], 't', group[1])
  end
  if redis.call('PTTL', KEYS[at]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[at], ARGV[3]) end
  for _, value in ipairs({group[1], group[2] or '', group[3] or '0', created}) do
    table.insert(reply, value)
  end
end
local key = KEYS[tonumber(ARGV[1]) + 1]
if key then
  local removals = redis.call('HMGET', key, 'i', 'g')
  table.insert(reply, removals[1] or '')
  table.insert(reply, removals[2] or '0')
end
return reply";

/// Changes a group's token and publishes that. Returns 1, or 0 if the barrier is another one.
///
/// Of two removals that overlap, the higher number stays. A new token has the given TTL.
///
/// KEYS: group, and (on a single server) barrier. ARGV: new token, the barrier's token, number of
/// the removal, TTL in ms, channel, message.
const REMOVE_GROUP: &str = "
if KEYS[2] and redis.call('HGET', KEYS[2], 'i') ~= ARGV[2] then return 0 end
local old = redis.call('HMGET', KEYS[1], 'i', 'n')
local last = tonumber(ARGV[3])
if old[1] == ARGV[2] then last = math.max(last, tonumber(old[2])) end
redis.call('HSET', KEYS[1], 't', ARGV[1], 'i', ARGV[2], 'n', string.format('%.0f', last))
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1";

/// Stores the time as of which a group is stale, unless a later one is stored, and publishes that.
///
/// KEYS: group. ARGV: time in ms, TTL in ms, channel, message.
const MARK_GROUP: &str = "
local at = math.max(tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], 's') or '0'))
redis.call('HSET', KEYS[1], 's', string.format('%.0f', at))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('PUBLISH', ARGV[3], ARGV[4])";

/// Makes an entry visible and releases the body of the entry that it replaces. Returns 1, or 0 if a
/// later response is stored, if one of the tokens has changed since the reservation or is missing.
///
/// Publishes the message if the key now has several variants or an entry was replaced, because near
/// copies elsewhere are then incomplete or old.
///
/// KEYS: entry, token, epoch, and (on a single server) barrier and groups. ARGV: field, record, TTL
/// in ms, prefix of the names of bodies, grace time in ms, channel, message, the barrier's token,
/// and the token of each group.
const PUBLISH: &str = "
local record = ARGV[2]
local token = string.sub(record, 9, 16)
if redis.call('HGET', KEYS[2], 't') ~= token then return 0 end
local current = redis.call('GET', KEYS[3])
if not current or string.sub(current, 1, 8) ~= string.sub(record, 1, 8) then return 0 end
if KEYS[4] and redis.call('HGET', KEYS[4], 'i') ~= ARGV[8] then return 0 end
for at = 5, #KEYS do
  if redis.call('HGET', KEYS[at], 't') ~= ARGV[at + 4] then return 0 end
end
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and string.len(old) >= 33 then
  local is_later = number(string.sub(old, 17, 24)) > number(string.sub(record, 17, 24))
  if is_later and string.sub(old, 9, 16) == token then return 0 end
  if string.sub(old, 25, 32) ~= string.sub(record, 25, 32) then
    release_body_of(old, ARGV[4], ARGV[5])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], record)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if old or redis.call('HLEN', KEYS[1]) > 1 then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return 1";

/// Replaces the head of an entry and extends its TTL. Returns 1, or 0 if the entry has been removed
/// or replaced, its body has expired or been evicted, or the record's epoch has ended.
///
/// KEYS: entry, epoch. ARGV: field, record, TTL in ms, key of the body or '', channel, message.
const FRESHEN: &str = "
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old or string.sub(old, 25, 32) ~= string.sub(ARGV[2], 25, 32) then return 0 end
local current = redis.call('GET', KEYS[2])
if not current or string.sub(current, 1, 8) ~= string.sub(ARGV[2], 1, 8) then return 0 end
if ARGV[4] ~= '' and redis.call('PEXPIRE', ARGV[4], ARGV[3] + 60000) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1";

/// Removes one variant and releases its body. Returns 1, or 0 if it has been removed or replaced.
///
/// KEYS: entry. ARGV: the entry's id as its value has it, key of the body, grace time in ms.
const EVICT: &str = "
local variants = redis.call('HGETALL', KEYS[1])
for at = 1, #variants, 2 do
  if string.sub(variants[at + 1], 25, 32) == ARGV[1] then
    redis.call('HDEL', KEYS[1], variants[at])
    release_body(ARGV[2], ARGV[3])
    return 1
  end
end
return 0";

/// Removes all variants of a key and its token, and releases the bodies. Returns the number of
/// variants.
///
/// KEYS: entry, token. ARGV: prefix of the names of bodies, grace time in ms, channel, message or
/// '' to publish nothing.
const REMOVE: &str = "
redis.call('UNLINK', KEYS[2])
local variants = redis.call('HVALS', KEYS[1])
for _, old in ipairs(variants) do release_body_of(old, ARGV[1], ARGV[2]) end
redis.call('UNLINK', KEYS[1])
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
if not KEYS[3] then return {#variants, 0, {}} end
local published = synchronize(KEYS[3], KEYS[4], ARGV[3], ARGV[5], '')
return {#variants, published[1], published[2]}";

/// Releases bodies: they stay for the grace time, for those who are reading them.
///
/// KEYS: bodies. ARGV: grace time in ms.
const RELEASE_BODIES: &str = "
for _, name in ipairs(KEYS) do release_body(name, ARGV[1]) end
return #KEYS";

/// Registers a node for a time from now on, and publishes to it a message with the server's
/// `run_id` and the last number.
///
/// KEYS: nodes, acknowledgements. ARGV: node, time in ms, channel of the node, beginning of the
/// message.
const REGISTER: &str = "
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now() + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PEXPIRE', KEYS[2], 3600000)
local number = redis.call('HGET', KEYS[2], 'number') or '0'
return redis.call('PUBLISH', ARGV[3], ARGV[4] .. run_id() .. ' ' .. number)";

/// Publishes the next number to the registered nodes, and before it a message unless it is ''.
/// Returns the number and the nodes. Without nodes, publishes nothing.
///
/// KEYS: nodes, acknowledgements. ARGV: channel, beginning of the message with the number, message.
const SYNCHRONIZE: &str = "
return synchronize(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])";

/// Extends a lease. Returns 1, or 0 if the lease has expired or has another holder.
///
/// KEYS: lease. ARGV: holder, lease duration in ms.
const RENEW: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// Releases a lease and notifies its waiters. Returns 1, or 0 if the lease has expired or has
/// another holder.
///
/// KEYS: lease. ARGV: holder, channel.
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], '')
return 1";

impl Scripts {
    /// Creates all scripts and computes their digests.
    pub(crate) fn new() -> Self {
        let with_functions = |code: &str| Script::new(&[FUNCTIONS, code].concat());
        Self {
            epoch: with_functions(EPOCH),
            barrier: with_functions(BARRIER),
            count_removal: with_functions(COUNT_REMOVAL),
            reserve: with_functions(RESERVE),
            lookup: with_functions(LOOKUP),
            groups: with_functions(GROUPS),
            remove_group: with_functions(REMOVE_GROUP),
            mark_group: with_functions(MARK_GROUP),
            publish: with_functions(PUBLISH),
            freshen: with_functions(FRESHEN),
            evict: with_functions(EVICT),
            remove: with_functions(REMOVE),
            release_bodies: with_functions(RELEASE_BODIES),
            register: with_functions(REGISTER),
            synchronize: with_functions(SYNCHRONIZE),
            renew: Script::new(RENEW),
            release: Script::new(RELEASE),
        }
    }
}
