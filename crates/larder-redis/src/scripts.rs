//! What has to happen at once, as scripts. Each touches keys of one hash tag alone.

use redis::Script;

/// All of them, with their digests computed once.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) begin: Script,
    pub(crate) clock: Script,
    pub(crate) publish: Script,
    pub(crate) freshen: Script,
    pub(crate) remove: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
}

/// KEYS: tomb. Returns its token, and the server's time in µs.
const BEGIN: &str = "
local time = redis.call('TIME')
return {redis.call('GET', KEYS[1]) or '', time[1] * 1000000 + time[2]}";

/// KEYS: epoch, clock. ARGV: milliseconds, for a removal. Returns the time in µs, and the epoch's token. A removal's time is
/// later than any that was told before it, also where servers' clocks differ and one takes another's place.
const CLOCK: &str = "
local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', KEYS[2]) or 0))
if ARGV[1] then
  now = now + 1
  redis.call('SET', KEYS[2], string.format('%.0f', now), 'PX', ARGV[1])
end
return {now, redis.call('GET', KEYS[1]) or ''}";

/// KEYS: entry, tomb, and the epoch where one server has all keys. ARGV: field, record, token, milliseconds, beginning of the
/// names of bodies, channel, news (also of a variant beside others), the epoch's token. 1 if it is visible; 0 if it was removed since it was asked for, or a later
/// response is there.
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

/// KEYS: entry. ARGV: field, record, milliseconds, body's key or '', channel, news. 1 if the same entry was still there.
const FRESHEN: &str = "
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old or string.sub(old, 1, 16) ~= string.sub(ARGV[2], 1, 16) then return 0 end
if ARGV[4] ~= '' and redis.call('PEXPIRE', ARGV[4], ARGV[3] + 60000) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1";

/// KEYS: entry, tomb. ARGV: new token, its milliseconds, beginning of the names of bodies, channel, news or ''.
const REMOVE: &str = "
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
for _, old in ipairs(redis.call('HVALS', KEYS[1])) do
  if string.len(old) >= 18 and string.byte(old, 17) == 1 then
    local name = ''
    for at = 16, 9, -1 do name = name .. string.format('%02x', string.byte(old, at)) end
    redis.call('UNLINK', ARGV[3] .. name)
  end
end
redis.call('UNLINK', KEYS[1])
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return 1";

/// KEYS: lease. ARGV: holder, milliseconds. 1 if it is still the holder's.
const RENEW: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// KEYS: lease. ARGV: holder, channel.
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], '')
return 1";

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            begin: Script::new(BEGIN),
            clock: Script::new(CLOCK),
            publish: Script::new(PUBLISH),
            freshen: Script::new(FRESHEN),
            remove: Script::new(REMOVE),
            renew: Script::new(RENEW),
            release: Script::new(RELEASE),
        }
    }
}
