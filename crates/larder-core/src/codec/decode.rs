//! Decodes heads and whole entries. Nothing is used before its checksum is verified, and nothing is
//! allocated for a length that exceeds the available bytes.
//!
//! Decoding is one pass from front to back. The lengths are in tables before the text, so nothing
//! is searched for. Header values are slices of the bytes that were passed, without a copy. They
//! keep the whole buffer in memory for as long as one of them lives, so a store should pass a
//! buffer that holds little more than the entry.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    MAX_BODY, MAX_HEAD, NotAnEntry, PREFIX, Trailer, VERSION,
    layout::{
        CHECKSUM, MAGIC, MAX_FIELDS, MAX_GROUPS, MAX_SELECTING, RECORD, STATUS_LINE, STATUS_LINE_END, at,
        flag, length_at, line, u16_at, u32_at, u64_at,
    },
};
use crate::{
    CacheGroup, CacheKey, EntryId, StoredHead, Timestamp,
    policy::{ByteRange, FreshnessInfo, FreshnessLifetime, LifetimeSource, SelectingHeaders},
};

/// The error for a flag that this version does not define.
const UNKNOWN_FLAG: NotAnEntry = NotAnEntry::Corrupt("a flag that this version does not define");

/// The error for text that has another length than the tables specify.
const MISMATCH: NotAnEntry = NotAnEntry::Corrupt("text that does not match its lengths");

/// A head, and the values that the format stores with it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DecodedHead {
    /// The head as it was stored.
    pub head: StoredHead,
    /// The entry that the head belongs to. The trailer of its body has the same id.
    pub entry: EntryId,
    /// The body's length in bytes, if it was known when the head was written.
    pub body_length: Option<u64>,
    /// Length of the encoded head in bytes. A body that follows its head starts at this offset.
    pub length: usize,
}

/// Returns the length in bytes of the head that starts with `prefix`, of which [`PREFIX`] bytes are
/// needed.
///
/// Nothing is verified: the length only determines how much to read.
///
/// # Errors
///
/// Returns [`Truncated`](NotAnEntry::Truncated) for fewer bytes, [`Foreign`](NotAnEntry::Foreign)
/// or [`UnknownVersion`](NotAnEntry::UnknownVersion) for other bytes, and
/// [`Corrupt`](NotAnEntry::Corrupt) for an impossible length.
pub fn head_length(prefix: &[u8]) -> Result<usize, NotAnEntry> {
    let magic = prefix.len().min(MAGIC.len());
    if prefix[..magic] != MAGIC[..magic] {
        return Err(NotAnEntry::Foreign);
    }
    if prefix.len() < PREFIX {
        return Err(NotAnEntry::Truncated { needed: PREFIX });
    }
    let version = u16_at(prefix, at::VERSION);
    if version != VERSION {
        return Err(NotAnEntry::UnknownVersion(version));
    }
    let length = length_at(prefix, at::LENGTH);
    if !(at::TABLES + CHECKSUM..=MAX_HEAD).contains(&length) {
        return Err(NotAnEntry::Corrupt("the head's length"));
    }
    Ok(length)
}

/// Decodes the head at the start of `bytes` if its key is `key`. Bytes after the head are ignored.
///
/// # Errors
///
/// Returns a [`NotAnEntry`] if there is no such head. It means a miss.
pub fn decode_head(bytes: &Bytes, key: &CacheKey) -> Result<DecodedHead, NotAnEntry> {
    let verified = Verified::new(bytes)?;
    let mut cursor = Cursor { bytes: verified.bytes, at: verified.text() };
    if cursor.take(verified.key_length())? != key.as_bytes() {
        return Err(NotAnEntry::OtherKey);
    }
    verified.decode(bytes, cursor)
}

/// Decodes and verifies an entry of which the body follows the head, with nothing after the
/// trailer.
///
/// # Errors
///
/// Returns a [`NotAnEntry`] if the bytes are not such an entry. It means a miss.
pub fn decode_whole(bytes: &Bytes, key: &CacheKey) -> Result<(DecodedHead, Bytes), NotAnEntry> {
    let decoded = decode_head(bytes, key)?;
    let rest = bytes.slice(decoded.length..);
    if let Some(length) = decoded.body_length {
        let needed = usize::try_from(length + Trailer::length_for(length)).unwrap_or(usize::MAX);
        if rest.len() < needed {
            return Err(NotAnEntry::Truncated { needed: needed.saturating_add(decoded.length) });
        }
    }
    let trailer = Trailer::decode(&rest).map_err(|error| match error {
        NotAnEntry::Truncated { needed } => NotAnEntry::Truncated { needed: needed + decoded.length },
        error => error,
    })?;
    // All of it is in memory; otherwise `decode` would have returned `Truncated`.
    let body = rest.slice(..rest.len() - usize::try_from(trailer.encoded_length()).unwrap_or(rest.len()));
    if !trailer.belongs_to(&decoded) || trailer.length() != body.len() as u64 {
        return Err(NotAnEntry::Corrupt("a trailer that belongs to another body"));
    }
    trailer.verify(0, &body)?;
    Ok((decoded, body))
}

/// Returns the key of the head at the start of `bytes`, for a store that rebuilds its index from
/// its entries.
///
/// # Errors
///
/// Returns a [`NotAnEntry`] if there is no head, but never [`OtherKey`](NotAnEntry::OtherKey).
pub fn stored_key(bytes: &[u8]) -> Result<CacheKey, NotAnEntry> {
    let verified = Verified::new(bytes)?;
    let mut cursor = Cursor { bytes: verified.bytes, at: verified.text() };
    let key = cursor.take(verified.key_length())?;
    CacheKey::from_bytes(key).ok_or(NotAnEntry::Corrupt("the key"))
}

/// A head of which the checksum is correct, without that checksum.
struct Verified<'a> {
    bytes: &'a [u8],
    fields: usize,
    selecting: usize,
    groups: usize,
}

impl<'a> Verified<'a> {
    /// Verifies the checksum of the head at the start of `bytes`, and the sizes of its tables.
    fn new(bytes: &'a [u8]) -> Result<Self, NotAnEntry> {
        let length = head_length(bytes)?;
        let Some(bytes) = bytes.get(..length) else {
            return Err(NotAnEntry::Truncated { needed: length });
        };
        let (bytes, checksum) = bytes.split_at(length - CHECKSUM);
        if crc32fast::hash(bytes) != u32_at(checksum, 0) {
            return Err(NotAnEntry::Corrupt("the head's checksum"));
        }
        let count = |at, max| Some(usize::from(u16_at(bytes, at))).filter(|count| *count <= max);
        let counts = (
            count(at::FIELDS, MAX_FIELDS),
            count(at::SELECTING, MAX_SELECTING),
            count(at::GROUPS, MAX_GROUPS),
        );
        let (Some(fields), Some(selecting), Some(groups)) = counts else {
            return Err(NotAnEntry::Corrupt("too many lines"));
        };
        let verified = Self { bytes, fields, selecting, groups };
        if verified.text() > bytes.len() {
            return Err(NotAnEntry::Corrupt("tables that exceed the head"));
        }
        Ok(verified)
    }

    /// Returns the offset at which the tables end and the text begins.
    fn text(&self) -> usize {
        at::TABLES + RECORD * (self.fields + self.selecting + self.groups)
    }

    /// Returns the length of the key.
    fn key_length(&self) -> usize {
        length_at(self.bytes, at::KEY_LENGTH)
    }

    /// Returns `count` records of the tables, starting with record `first`.
    fn records(&self, first: usize, count: usize) -> &'a [[u8; RECORD]] {
        let first = at::TABLES + RECORD * first;
        self.bytes[first..first + RECORD * count].as_chunks().0
    }

    /// Decodes everything after the key, which `cursor` has passed. `shared` has the same bytes,
    /// for slicing.
    fn decode(&self, shared: &Bytes, mut cursor: Cursor<'a>) -> Result<DecodedHead, NotAnEntry> {
        let flags = u16_at(self.bytes, at::FLAGS);
        if flags & !flag::ALL != 0 {
            return Err(UNKNOWN_FLAG);
        }
        let freshness = self.freshness(flags)?;
        let part = self.part(flags)?;
        let status = status(&mut cursor)?;
        let fields = self.header_fields(shared, &mut cursor)?;
        cursor.expect(b"\r\n")?;
        let selecting = self.selecting_headers(flags, &mut cursor)?;
        let groups = self.cache_groups(&mut cursor)?;
        if cursor.at != self.bytes.len() {
            return Err(NotAnEntry::Corrupt("more text than its lengths specify"));
        }
        let body_length = (flags & flag::BODY_LENGTH != 0).then(|| u64_at(self.bytes, at::BODY_LENGTH));
        if body_length.is_some_and(|length| length > MAX_BODY) {
            return Err(NotAnEntry::Corrupt("the body's length"));
        }
        Ok(DecodedHead {
            head: StoredHead::from_stored(status, fields, selecting, freshness, groups, part),
            entry: EntryId(u64_at(self.bytes, at::ENTRY)),
            body_length,
            length: self.bytes.len() + CHECKSUM,
        })
    }

    /// Decodes the freshness information.
    fn freshness(&self, flags: u16) -> Result<FreshnessInfo, NotAnEntry> {
        let has = |bit| flags & bit != 0;
        let time = |at| Timestamp::from_millis(u64_at(self.bytes, at));
        let duration = |secs, nanos| {
            let nanos = u32_at(self.bytes, nanos);
            // `Duration::new` carries nanoseconds of a second or more, and panics if the seconds
            // overflow.
            let valid = (nanos < 1_000_000_000).then(|| Duration::new(u64_at(self.bytes, secs), nanos));
            valid.ok_or(NotAnEntry::Corrupt("a duration"))
        };
        let optional = |bit, secs, nanos| has(bit).then(|| duration(secs, nanos)).transpose();

        let mut lifetime = FreshnessLifetime::default();
        lifetime.lifetime = duration(at::LIFETIME, at::LIFETIME_NANOS)?;
        lifetime.from = lifetime_from(self.bytes[at::LIFETIME_FROM])?;
        let mut freshness = FreshnessInfo::default();
        freshness.request_time = time(at::REQUEST_TIME);
        freshness.response_time = time(at::RESPONSE_TIME);
        freshness.corrected_initial_age = duration(at::INITIAL_AGE, at::INITIAL_AGE_NANOS)?;
        freshness.lifetime = lifetime;
        freshness.date = time(at::DATE);
        freshness.must_revalidate = has(flag::MUST_REVALIDATE);
        freshness.no_cache = has(flag::NO_CACHE);
        freshness.immutable = has(flag::IMMUTABLE);
        freshness.stale_while_revalidate =
            optional(flag::WHILE_REVALIDATE, at::WHILE_REVALIDATE, at::WHILE_REVALIDATE_NANOS)?;
        freshness.stale_if_error = optional(flag::IF_ERROR, at::IF_ERROR, at::IF_ERROR_NANOS)?;
        Ok(freshness)
    }

    /// Decodes the byte range of a 206 response.
    fn part(&self, flags: u16) -> Result<Option<ByteRange>, NotAnEntry> {
        if flags & flag::PART == 0 {
            return Ok(None);
        }
        let number = |at| u64_at(self.bytes, at);
        let complete = (flags & flag::PART_COMPLETE != 0).then(|| number(at::PART_COMPLETE));
        let part = ByteRange::new(number(at::PART_FIRST), number(at::PART_LAST), complete);
        part.map(Some).ok_or(NotAnEntry::Corrupt("a range"))
    }

    /// Decodes the header fields. Their values are slices of `shared`.
    fn header_fields(&self, shared: &Bytes, cursor: &mut Cursor<'_>) -> Result<HeaderMap, NotAnEntry> {
        const TOO_MANY: NotAnEntry = NotAnEntry::Corrupt("too many lines");
        let mut fields = HeaderMap::try_with_capacity(self.fields).map_err(|_| TOO_MANY)?;
        for record in self.records(0, self.fields) {
            let (name, value) = cursor.line(record, line::SENSITIVE)?;
            let mut value = HeaderValue::from_maybe_shared(shared.slice(value))
                .map_err(|_| NotAnEntry::Corrupt("the value of a header field"))?;
            value.set_sensitive(line_flags(record) & line::SENSITIVE != 0);
            fields.try_append(name, value).map_err(|_| TOO_MANY)?;
        }
        Ok(fields)
    }

    /// Decodes the selecting header fields.
    fn selecting_headers(&self, flags: u16, cursor: &mut Cursor<'_>) -> Result<SelectingHeaders, NotAnEntry> {
        let mut entries = Vec::with_capacity(self.selecting);
        for record in self.records(self.fields, self.selecting) {
            let (name, value) = cursor.line(record, line::ABSENT)?;
            let absent = line_flags(record) & line::ABSENT != 0;
            if absent && !value.is_empty() {
                return Err(NotAnEntry::Corrupt("a value for an absent header field"));
            }
            entries.push((name, (!absent).then(|| self.bytes[value].to_vec())));
        }
        Ok(SelectingHeaders::from_stored(entries, flags & flag::NEVER_MATCHES != 0))
    }

    /// Decodes the cache groups.
    fn cache_groups(&self, cursor: &mut Cursor<'_>) -> Result<Box<[CacheGroup]>, NotAnEntry> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| NotAnEntry::Corrupt("a group"));
        let group = |record: &[u8; RECORD]| {
            let origin = text(cursor.take(length_at(record, 0))?)?;
            cursor.expect(b" ")?;
            let name = text(cursor.take(length_at(record, 4))?)?;
            cursor.expect(b"\r\n")?;
            Ok(CacheGroup::new(origin, name))
        };
        self.records(self.fields + self.selecting, self.groups).iter().map(group).collect()
    }
}

/// Returns the flags of a line's record.
fn line_flags(record: &[u8; RECORD]) -> u16 {
    u16_at(record, 6)
}

/// Decodes the status line.
fn status(cursor: &mut Cursor<'_>) -> Result<StatusCode, NotAnEntry> {
    cursor.expect(STATUS_LINE)?;
    let digits = cursor.take(3)?;
    cursor.expect(STATUS_LINE_END)?;
    StatusCode::from_bytes(digits).map_err(|_| NotAnEntry::Corrupt("the status code"))
}

/// Decodes the source of the lifetime; the inverse of the encoder's `lifetime_code`.
fn lifetime_from(code: u8) -> Result<LifetimeSource, NotAnEntry> {
    match code {
        0 => Ok(LifetimeSource::Unspecified),
        1 => Ok(LifetimeSource::SMaxage),
        2 => Ok(LifetimeSource::MaxAge),
        3 => Ok(LifetimeSource::Expires),
        4 => Ok(LifetimeSource::Heuristic),
        5 => Ok(LifetimeSource::Override),
        _ => Err(NotAnEntry::Corrupt("the source of the lifetime")),
    }
}

/// A position in the text, which never exceeds its end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Returns the next `length` bytes.
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotAnEntry> {
        let range = self.skip(length)?;
        Ok(&self.bytes[range])
    }

    /// Advances by `length` bytes and returns their range.
    fn skip(&mut self, length: usize) -> Result<Range<usize>, NotAnEntry> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let range = self.at..end.ok_or(NotAnEntry::Corrupt("lengths that exceed the head"))?;
        self.at = range.end;
        Ok(range)
    }

    /// Consumes `mark`, which must be the next bytes.
    ///
    /// This check ensures that the text a person reads in a dump is what is decoded.
    fn expect(&mut self, mark: &[u8]) -> Result<(), NotAnEntry> {
        if self.take(mark.len())? == mark {
            return Ok(());
        }
        Err(MISMATCH)
    }

    /// Decodes a line `name: value` and returns the range of its value. `known` are the flags that
    /// its record may have.
    fn line(&mut self, record: &[u8; RECORD], known: u16) -> Result<(HeaderName, Range<usize>), NotAnEntry> {
        if line_flags(record) & !known != 0 {
            return Err(UNKNOWN_FLAG);
        }
        let (name, value) = (usize::from(u16_at(record, 4)), length_at(record, 0));
        let start = self.at + name + 2;
        let line = self.take(name.saturating_add(4).saturating_add(value))?;
        let (name, rest) = line.split_at(name);
        if !rest.starts_with(b": ") || !rest.ends_with(b"\r\n") {
            return Err(MISMATCH);
        }
        let name = HeaderName::from_lowercase(name);
        let name = name.map_err(|_| NotAnEntry::Corrupt("the name of a header field"))?;
        Ok((name, start..start + value))
    }
}
