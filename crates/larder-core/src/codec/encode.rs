//! Encodes heads and whole entries. A value that the decoder would reject is rejected here, so that
//! nothing is written that can only be a miss. `layout` has the offsets and limits, `body` the
//! trailer.

use std::time::Duration;

use http::HeaderName;

use super::{
    BodyChecksum, MAX_BODY, MAX_HEAD, NotEncodable, VERSION,
    layout::{
        CHECKSUM, MAGIC, MAX_FIELDS, MAX_GROUPS, MAX_SELECTING, STATUS_LINE, STATUS_LINE_END, at, flag, line,
    },
};
use crate::{CacheGroup, CacheKey, EntryId, StoredHead, policy::LifetimeSource};

/// Appends the encoded head of `entry` to `out`. `body_length` is `None` if the body's length is
/// not known yet.
///
/// `entry` must identify this response only and must never be reused. The body's trailer has it
/// too, so that a head and a body of different responses are never combined. If it cannot be
/// guessed, a body cannot contain a forged trailer of its own entry. A head that replaces another
/// after a 304 has the same `entry`.
///
/// # Errors
///
/// Returns a [`NotEncodable`] if the head exceeds a limit of the format or has a value without a
/// code. `out` is unchanged then.
pub fn encode_head(
    key: &CacheKey,
    head: &StoredHead,
    entry: EntryId,
    body_length: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<(), NotEncodable> {
    let start = out.len();
    let result = append_head(key, head, entry, body_length, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends a whole entry to `out`: the head, the body, and the body's trailer.
///
/// # Errors
///
/// Returns a [`NotEncodable`] if the entry exceeds a limit of the format or has a value without a
/// code. `out` is unchanged then.
pub fn encode_whole(
    key: &CacheKey,
    head: &StoredHead,
    entry: EntryId,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NotEncodable> {
    encode_head(key, head, entry, Some(body.len() as u64), out)?;
    out.extend_from_slice(body);
    let mut checksum = BodyChecksum::new();
    checksum.update(body);
    checksum.finish(entry).encode(out);
    Ok(())
}

/// Appends the encoded head. `out` may have a part of it if it fails.
fn append_head(
    key: &CacheKey,
    head: &StoredHead,
    entry: EntryId,
    body_length: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<(), NotEncodable> {
    let start = out.len();
    let counts = Counts {
        fields: checked_count(head.fields.len(), MAX_FIELDS, "header fields")?,
        selecting: checked_count(head.selecting.iter().count(), MAX_SELECTING, "selecting header fields")?,
        groups: checked_count(head.groups.len(), MAX_GROUPS, "groups")?,
    };
    if body_length.is_some_and(|length| length > MAX_BODY) {
        let limit = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
        return Err(NotEncodable::TooLarge { what: "bytes of body", limit });
    }
    // The key and the header fields are limited before they are written, the total length
    // afterwards.
    let lines: usize = head.fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if key.as_bytes().len().saturating_add(lines) > MAX_HEAD {
        return Err(TOO_LONG);
    }
    out.reserve(at::TABLES + 32 + 12 * head.fields.len() + lines + key.as_bytes().len());

    append_fixed(key, head, entry, body_length, &counts, out)?;
    append_tables(head, out)?;
    out.extend_from_slice(key.as_bytes());
    append_block(head, out);
    for (name, value) in head.selecting.iter() {
        append_line(name, value.unwrap_or_default(), out);
    }
    for group in &*head.groups {
        append_group(group, out);
    }

    let length = out.len() - start + CHECKSUM;
    let written = u32::try_from(length).ok().filter(|_| length <= MAX_HEAD).ok_or(TOO_LONG)?;
    out[start + at::LENGTH..][..4].copy_from_slice(&written.to_le_bytes());
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// The error for a head longer than [`MAX_HEAD`].
const TOO_LONG: NotEncodable = NotEncodable::TooLarge { what: "bytes of head", limit: MAX_HEAD };

/// The number of records of each table.
struct Counts {
    fields: u16,
    selecting: u16,
    groups: u16,
}

/// Returns `count` if it is within `limit`.
fn checked_count(count: usize, limit: usize, what: &'static str) -> Result<u16, NotEncodable> {
    let count = u16::try_from(count).ok().filter(|_| count <= limit);
    count.ok_or(NotEncodable::TooLarge { what, limit })
}

/// Appends the fixed part of the head.
fn append_fixed(
    key: &CacheKey,
    head: &StoredHead,
    entry: EntryId,
    body_length: Option<u64>,
    counts: &Counts,
    out: &mut Vec<u8>,
) -> Result<(), NotEncodable> {
    let freshness = &head.freshness;
    let part = head.part.as_ref();
    let complete = part.and_then(|part| part.complete);
    let flags = bit(freshness.must_revalidate, flag::MUST_REVALIDATE)
        | bit(freshness.no_cache, flag::NO_CACHE)
        | bit(freshness.immutable, flag::IMMUTABLE)
        | bit(freshness.stale_while_revalidate.is_some(), flag::WHILE_REVALIDATE)
        | bit(freshness.stale_if_error.is_some(), flag::IF_ERROR)
        | bit(part.is_some(), flag::PART)
        | bit(complete.is_some(), flag::PART_COMPLETE)
        | bit(head.selecting.never_matches(), flag::NEVER_MATCHES)
        | bit(body_length.is_some(), flag::BODY_LENGTH);
    let key_length = u32::try_from(key.as_bytes().len()).map_err(|_| TOO_LONG)?;

    // Written on the stack and appended at once.
    let mut fixed = [0; at::TABLES];
    let mut put = |at: usize, bytes: &[u8]| fixed[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, MAGIC);
    put(at::VERSION, &VERSION.to_le_bytes());
    put(at::FLAGS, &flags.to_le_bytes());
    put(at::ENTRY, &entry.0.to_le_bytes());
    put(at::BODY_LENGTH, &body_length.unwrap_or_default().to_le_bytes());
    put(at::REQUEST_TIME, &freshness.request_time.as_millis().to_le_bytes());
    put(at::RESPONSE_TIME, &freshness.response_time.as_millis().to_le_bytes());
    put(at::DATE, &freshness.date.as_millis().to_le_bytes());
    let mut put_duration = |secs: usize, nanos: usize, duration: Duration| {
        put(secs, &duration.as_secs().to_le_bytes());
        put(nanos, &duration.subsec_nanos().to_le_bytes());
    };
    put_duration(at::INITIAL_AGE, at::INITIAL_AGE_NANOS, freshness.corrected_initial_age);
    put_duration(at::LIFETIME, at::LIFETIME_NANOS, freshness.lifetime.lifetime);
    let while_revalidate = freshness.stale_while_revalidate.unwrap_or_default();
    put_duration(at::WHILE_REVALIDATE, at::WHILE_REVALIDATE_NANOS, while_revalidate);
    put_duration(at::IF_ERROR, at::IF_ERROR_NANOS, freshness.stale_if_error.unwrap_or_default());
    if let Some(part) = part {
        put(at::PART_FIRST, &part.first.to_le_bytes());
        put(at::PART_LAST, &part.last.to_le_bytes());
        put(at::PART_COMPLETE, &complete.unwrap_or_default().to_le_bytes());
    }
    put(at::KEY_LENGTH, &key_length.to_le_bytes());
    put(at::FIELDS, &counts.fields.to_le_bytes());
    put(at::SELECTING, &counts.selecting.to_le_bytes());
    put(at::GROUPS, &counts.groups.to_le_bytes());
    put(at::LIFETIME_FROM, &[lifetime_code(freshness.lifetime.from)]);
    out.extend_from_slice(&fixed);
    Ok(())
}

/// Returns `bit` if `set`, and 0 otherwise.
fn bit(set: bool, bit: u16) -> u16 {
    if set { bit } else { 0 }
}

/// Returns the code of a source of the lifetime; the inverse of the decoder's `lifetime_from`.
fn lifetime_code(from: LifetimeSource) -> u8 {
    match from {
        LifetimeSource::Unspecified => 0,
        LifetimeSource::SMaxage => 1,
        LifetimeSource::MaxAge => 2,
        LifetimeSource::Expires => 3,
        LifetimeSource::Heuristic => 4,
        LifetimeSource::Override => 5,
    }
}

/// Appends the tables of lengths.
fn append_tables(head: &StoredHead, out: &mut Vec<u8>) -> Result<(), NotEncodable> {
    for (name, value) in &head.fields {
        append_record(name, value.len(), bit(value.is_sensitive(), line::SENSITIVE), out)?;
    }
    for (name, value) in head.selecting.iter() {
        append_record(name, value.map_or(0, <[u8]>::len), bit(value.is_none(), line::ABSENT), out)?;
    }
    for group in &*head.groups {
        for part in [group.origin(), group.name()] {
            out.extend_from_slice(&u32::try_from(part.len()).map_err(|_| TOO_LONG)?.to_le_bytes());
        }
    }
    Ok(())
}

/// Appends the record of one line: the lengths of its value and name, and its flags.
fn append_record(name: &HeaderName, value: usize, flags: u16, out: &mut Vec<u8>) -> Result<(), NotEncodable> {
    let value = u32::try_from(value).map_err(|_| TOO_LONG)?;
    let name = u16::try_from(name.as_str().len()).map_err(|_| TOO_LONG)?;
    let record = u64::from(value) | u64::from(name) << 32 | u64::from(flags) << 48;
    out.extend_from_slice(&record.to_le_bytes());
    Ok(())
}

/// Appends the status line and the header fields as text.
fn append_block(head: &StoredHead, out: &mut Vec<u8>) {
    out.extend_from_slice(STATUS_LINE);
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.extend_from_slice(STATUS_LINE_END);
    for (name, value) in &head.fields {
        append_line(name, value.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a line `name: value`.
fn append_line(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the line of a group: its origin and its name.
fn append_group(group: &CacheGroup, out: &mut Vec<u8>) {
    out.extend_from_slice(group.origin().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(group.name().as_bytes());
    out.extend_from_slice(b"\r\n");
}
