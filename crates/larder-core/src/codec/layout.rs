//! Where everything stands in the format: offsets, sizes, marks and limits. FORMAT.md shows the same as pictures.
//!
//! Only what is here decides the bytes; encoder and decoder agree because they have no numbers of their own.

/// The version of the format that this crate writes, and the only one that it reads.
///
/// Stores put it in the name of what they keep entries in (a directory, a prefix of keys), so that two versions can run
/// side by side while a fleet is upgraded.
pub const VERSION: u16 = 1;

/// The longest head, in bytes. Longer ones are not written, and what claims to be longer is not an entry.
pub const MAX_HEAD: usize = 1024 * 1024;

/// The longest body, in bytes: 1 TiB, for which the trailer has 64 MiB. What claims to be longer is not an entry.
pub const MAX_BODY: u64 = 1 << 40;

/// A body's block, in bytes: what has a checksum of its own and can be verified alone.
pub const BLOCK: usize = 64 * 1024;

/// How many bytes [`head_length`](super::head_length) needs. Their meaning is the same in every version.
pub const PREFIX: usize = 16;

/// First byte is no text, last is one that text modes change.
pub(super) const MAGIC: &[u8; 8] = b"\x8CLARDER\n";
/// The same backwards: the last bytes of a body's trailer.
pub(super) const MAGIC_END: &[u8; 8] = b"\nREDRAL\x8C";

/// Most lines of header fields.
pub(super) const MOST_FIELDS: usize = 8192;
/// Most selecting header fields.
pub(super) const MOST_SELECTING: usize = 256;
/// Most groups.
pub(super) const MOST_GROUPS: usize = 256;

/// Begins the header block, before the three digits.
pub(super) const STATUS_LINE: &[u8] = b"HTTP/1.1 ";
/// Ends the status line, behind the three digits: the reason phrase is empty.
pub(super) const STATUS_LINE_END: &[u8] = b" \r\n";

/// Bytes of one record of the tables.
pub(super) const RECORD: usize = 8;
/// Bytes of the checksum at a head's end.
pub(super) const CHECKSUM: usize = 4;
/// Bytes of the fixed part at a trailer's end.
pub(super) const FOOTER: usize = 32;

/// Offsets in the fixed part of a head.
pub(super) mod at {
    pub(in crate::codec) const VERSION: usize = 0x08;
    pub(in crate::codec) const FLAGS: usize = 0x0A;
    pub(in crate::codec) const LENGTH: usize = 0x0C;
    pub(in crate::codec) const ENTRY: usize = 0x10;
    pub(in crate::codec) const BODY_LENGTH: usize = 0x18;
    pub(in crate::codec) const REQUEST_TIME: usize = 0x20;
    pub(in crate::codec) const RESPONSE_TIME: usize = 0x28;
    pub(in crate::codec) const DATE: usize = 0x30;
    pub(in crate::codec) const INITIAL_AGE: usize = 0x38;
    pub(in crate::codec) const LIFETIME: usize = 0x40;
    pub(in crate::codec) const WHILE_REVALIDATE: usize = 0x48;
    pub(in crate::codec) const IF_ERROR: usize = 0x50;
    pub(in crate::codec) const INITIAL_AGE_NANOS: usize = 0x58;
    pub(in crate::codec) const LIFETIME_NANOS: usize = 0x5C;
    pub(in crate::codec) const WHILE_REVALIDATE_NANOS: usize = 0x60;
    pub(in crate::codec) const IF_ERROR_NANOS: usize = 0x64;
    pub(in crate::codec) const PART_FIRST: usize = 0x68;
    pub(in crate::codec) const PART_LAST: usize = 0x70;
    pub(in crate::codec) const PART_COMPLETE: usize = 0x78;
    pub(in crate::codec) const KEY_LENGTH: usize = 0x80;
    pub(in crate::codec) const FIELDS: usize = 0x84;
    pub(in crate::codec) const SELECTING: usize = 0x86;
    pub(in crate::codec) const GROUPS: usize = 0x88;
    pub(in crate::codec) const LIFETIME_FROM: usize = 0x8A;
    /// Where the fixed part ends and the tables begin.
    pub(in crate::codec) const TABLES: usize = 0x90;
}

/// Bits of a head's flags. A set bit that is not here is corruption: a new one is a new version.
pub(super) mod flag {
    pub(in crate::codec) const MUST_REVALIDATE: u16 = 1 << 0;
    pub(in crate::codec) const NO_CACHE: u16 = 1 << 1;
    pub(in crate::codec) const IMMUTABLE: u16 = 1 << 2;
    pub(in crate::codec) const WHILE_REVALIDATE: u16 = 1 << 3;
    pub(in crate::codec) const IF_ERROR: u16 = 1 << 4;
    pub(in crate::codec) const PART: u16 = 1 << 5;
    pub(in crate::codec) const PART_COMPLETE: u16 = 1 << 6;
    pub(in crate::codec) const NEVER_MATCHES: u16 = 1 << 7;
    pub(in crate::codec) const BODY_LENGTH: u16 = 1 << 8;
    pub(in crate::codec) const ALL: u16 = (1 << 9) - 1;
}

/// Bits of a line's record.
pub(super) mod line {
    /// The value must not enter the compression state of HTTP/2 or HTTP/3 (RFC 7541 §7.1.3).
    pub(in crate::codec) const SENSITIVE: u16 = 1 << 0;
    /// A selecting header field that the request did not have.
    pub(in crate::codec) const ABSENT: u16 = 1 << 1;
}

/// The number at `at`. The caller has checked that it is within.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// The number at `at`. The caller has checked that it is within.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// The number at `at`. The caller has checked that it is within.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// The same of a length; what no memory can hold is longer than any limit.
pub(super) fn length_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the caller has checked the length")
}
