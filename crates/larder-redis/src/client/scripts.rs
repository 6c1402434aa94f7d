//! The Lua scripts: every operation that must be atomic on the server. The keys of one script have
//! the same hash tag, so that each script also runs on a Cluster.
//!
//! The files of `entries`, and `fleet/leases`, call the scripts; `entries/keys` names the keys. The
//! scripts read the first 18 bytes of a stored value, which `entries/record` defines.

use redis::Script;

/// The scripts, with their SHA-1 digests computed once.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) begin: Script,
    pub(crate) clock: Script,
    pub(crate) publish: Script,
    pub(crate) freshen: Script,
    pub(crate) evict: Script,
    pub(crate) remove: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
}

/// Returns the key's tombstone token ('' if there is none) and the server's time in µs.
///
/// KEYS: tombstone.
const BEGIN: &str = "
local time = redis.call('TIME')
return {redis.call('GET', KEYS[1]) or '', time[1] * 1000000 + time[2]}";

/// Returns the time in µs by which group removals are ordered, and the epoch's token.
///
/// With ARGV, advances the time for a removal and stores it. The time of a removal is later than
/// that of every earlier removal, even if a replica with a slower clock has become the master.
///
/// KEYS: epoch, clock. ARGV (only for a removal): how long to retain the time, in ms.
const CLOCK: &str = "
local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', KEYS[2]) or 0))
if ARGV[1] then
  now = now + 1
  redis.call('SET', KEYS[2], string.format('%.0f', now), 'PX', ARGV[1])
end
return {now, redis.call('GET', KEYS[1]) or ''}";

/// Makes an entry visible and removes the body of the entry that it replaces. Returns 1, or 0 if a
/// later response is stored, or if the key or (with an epoch key) a prefix or everything was
/// removed since the request.
///
/// Publishes the message if the key now has several variants or an entry was replaced, because near
/// copies elsewhere are then incomplete or old.
///
/// KEYS: entry, tombstone, and (on a single server) epoch. ARGV: field, record, tombstone token,
/// TTL in ms, prefix of the names of bodies, channel, message, epoch token.
const PUBLISH: &str = "
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 0 end
if KEYS[3] and (redis.call('GET', KEYS[3]) or '') ~= ARGV[8] then return 0 end
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and string.len(old) >= 18 then
  if string.sub(old, 1, 8) > string.sub(ARGV[2], 1, 8) then return 0 end
  if string.byte(old, 17) == 1 and string.sub(old, 9, 16) ~= string.sub(ARGV[2], 9, 16) then
    local name = ''
    for at = 16, 9, -1 do name = name .. string.format('%02x', string.byte(old, at)) end
    redis.call('UNLINK', ARGV[5] .. name)
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
if old or redis.call('HLEN', KEYS[1]) > 1 then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return 1";

/// Replaces the head of an entry and extends its TTL. Returns 1, or 0 if the entry has been removed
/// or replaced, or its body has expired or been evicted.
///
/// KEYS: entry. ARGV: field, record, TTL in ms, key of the body or '', channel, message.
const FRESHEN: &str = "
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old or string.sub(old, 1, 16) ~= string.sub(ARGV[2], 1, 16) then return 0 end
if ARGV[4] ~= '' and redis.call('PEXPIRE', ARGV[4], ARGV[3] + 60000) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1";

/// Removes one variant with its body. Returns 1, or 0 if it has been removed or replaced.
///
/// KEYS: entry. ARGV: the entry's id as its value has it, key of the body.
const EVICT: &str = "
local variants = redis.call('HGETALL', KEYS[1])
for at = 1, #variants, 2 do
  if string.sub(variants[at + 1], 9, 16) == ARGV[1] then
    redis.call('HDEL', KEYS[1], variants[at])
    redis.call('UNLINK', ARGV[2])
    return 1
  end
end
return 0";

/// Removes all variants of a key with their bodies and stores a new tombstone token. Returns the
/// number of variants.
///
/// KEYS: entry, tombstone. ARGV: tombstone token, its TTL in ms, prefix of the names of bodies,
/// channel, message or '' to publish nothing.
const REMOVE: &str = "
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local variants = redis.call('HVALS', KEYS[1])
for _, old in ipairs(variants) do
  if string.len(old) >= 18 and string.byte(old, 17) == 1 then
    local name = ''
    for at = 16, 9, -1 do name = name .. string.format('%02x', string.byte(old, at)) end
    redis.call('UNLINK', ARGV[3] .. name)
  end
end
redis.call('UNLINK', KEYS[1])
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return #variants";

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
        Self {
            begin: Script::new(BEGIN),
            clock: Script::new(CLOCK),
            publish: Script::new(PUBLISH),
            freshen: Script::new(FRESHEN),
            evict: Script::new(EVICT),
            remove: Script::new(REMOVE),
            renew: Script::new(RENEW),
            release: Script::new(RELEASE),
        }
    }
}
