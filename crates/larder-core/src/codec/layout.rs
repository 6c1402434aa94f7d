//! Defines the layout of the format: offsets, sizes, magic numbers and limits. FORMAT.md shows the
//! same as diagrams.
//!
//! The encoder and the decoder have no numbers of their own, so they always agree.

/// The version of the format that this crate writes, and the only one that it reads.
///
/// Stores include it in the name under which they keep entries (a directory, a prefix of keys), so
/// that two versions can run side by side while a fleet is upgraded.
pub const VERSION: u16 = 2;

/// Maximum length of a head in bytes: 1 MiB. A longer head is not written, and a longer one is not
/// read.
pub const MAX_HEAD: usize = 1024 * 1024;

/// Maximum length of a body in bytes: 1 TiB, for which the trailer has 64 MiB. A longer body is not
/// written, and a longer one is not read.
pub const MAX_BODY: u64 = 1 << 40;

/// Length in bytes of a block of a body: the unit that has its own checksum and can be verified
/// alone.
pub const BLOCK: usize = 64 * 1024;

/// Number of bytes that [`head_length`](super::head_length) needs. Their meaning is the same in
/// every version.
pub const PREFIX: usize = 16;

/// The first bytes of a head. The first byte is not text, and the last is one that a text-mode
/// transfer changes.
pub(super) const MAGIC: &[u8; 8] = b"\x8CLARDER\n";
/// The same bytes in reverse order: the last bytes of a body's trailer.
pub(super) const MAGIC_END: &[u8; 8] = b"\nREDRAL\x8C";

/// Maximum number of header field lines.
pub(super) const MAX_FIELDS: usize = 8192;
/// Maximum number of selecting header fields.
pub(super) const MAX_SELECTING: usize = 256;
/// Maximum number of groups.
pub(super) const MAX_GROUPS: usize = 2048;

/// The start of the header block, before the three digits of the status.
pub(super) const STATUS_LINE: &[u8] = b"HTTP/1.1 ";
/// The end of the status line, after the three digits. The reason phrase is empty.
pub(super) const STATUS_LINE_END: &[u8] = b" \r\n";

/// Bytes of one record of the tables.
pub(super) const RECORD: usize = 8;
/// Bytes of the checksum at the end of a head.
pub(super) const CHECKSUM: usize = 4;
/// Bytes of the fixed part at the end of a trailer.
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
    /// The offset at which the fixed part ends and the tables begin.
    pub(in crate::codec) const TABLES: usize = 0x90;
}

/// Flags of a head. Any other bit that is set is corruption, because a new flag needs a new
/// version.
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

/// Flags of a line's record.
pub(super) mod line {
    /// The value must not enter the compression state of HTTP/2 or HTTP/3 (RFC 7541 §7.1.3).
    pub(in crate::codec) const SENSITIVE: u16 = 1 << 0;
    /// A selecting header field that was absent from the request.
    pub(in crate::codec) const ABSENT: u16 = 1 << 1;
}

/// Reads the number at `at`. The caller has checked that it is within `bytes`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// Reads the number at `at`. The caller has checked that it is within `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// Reads the number at `at`. The caller has checked that it is within `bytes`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Reads the length at `at`. A length that exceeds the address space becomes `usize::MAX`, which is
/// over every limit.
pub(super) fn length_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX)
}

/// Returns the `N` bytes at `at`. The caller has checked that they are within `bytes`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the caller has checked the length")
}
