//! Tests damaged heads and entries: every flipped bit, every cut, and wrong lengths behind a
//! correct checksum.

use bytes::Bytes;
use larder_core::codec::{self, NotAnEntry, PREFIX};

use crate::{encoded_head, encoded_whole, key};

/// Flips each bit of head, body and trailer, one at a time.
#[test]
fn every_flipped_bit_is_a_miss() {
    let whole = encoded_whole();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let decoded = codec::decode_whole(&Bytes::from(bytes), &key());
        assert!(decoded.is_err(), "bit {bit} of {} is not detected", whole.len() * 8);
    }
}

#[test]
fn every_cut_is_detected_and_reports_the_needed_length() {
    let whole = Bytes::from(encoded_whole());
    let head = codec::head_length(&whole).unwrap();
    for length in 0..whole.len() {
        let Err(NotAnEntry::Truncated { needed }) = codec::decode_whole(&whole.slice(..length), &key())
        else {
            panic!("cut at {length}");
        };
        let expected = match length {
            0..PREFIX => PREFIX,
            _ if length < head => head,
            _ => whole.len(),
        };
        assert_eq!(needed, expected, "cut at {length}");
    }
}

/// Returns the encoded head with some bytes changed and the checksum corrected, as a faulty or
/// hostile writer could leave it.
fn tampered(at: usize, with: &[u8]) -> Bytes {
    let mut bytes = encoded_head();
    bytes[at..at + with.len()].copy_from_slice(with);
    resealed(bytes)
}

/// Corrects the checksum of a head.
pub(crate) fn resealed(mut bytes: Vec<u8>) -> Bytes {
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

#[test]
fn a_correct_checksum_is_not_trusted_blindly() {
    const ALL: &[u8] = &[0xFF; 8];
    let block = encoded_head().windows(9).position(|window| window == b"HTTP/1.1 ").unwrap();
    for (what, at, with, expected) in [
        ("nothing changed", 0x8B, &[0][..], None),
        ("magic", 0x00, b"h", Some(NotAnEntry::Foreign)),
        ("version", 0x08, &[3, 0], Some(NotAnEntry::UnknownVersion(3))),
        ("flags", 0x0A, &[0, 0x80], Some(NotAnEntry::Corrupt("a flag that this version does not define"))),
        (
            "length, less than the fixed part",
            0x0C,
            &[15, 0, 0, 0],
            Some(NotAnEntry::Corrupt("the head's length")),
        ),
        ("length, over the limit", 0x0C, &[1, 0, 16, 0], Some(NotAnEntry::Corrupt("the head's length"))),
        ("length, the greatest", 0x0C, &ALL[..4], Some(NotAnEntry::Corrupt("the head's length"))),
        ("length, the limit", 0x0C, &[0, 0, 16, 0], Some(NotAnEntry::Truncated { needed: 1 << 20 })),
        ("nanoseconds with the most seconds", 0x58, &ALL[..4], Some(NotAnEntry::Corrupt("a duration"))),
        ("range that ends before it begins", 0x68, ALL, Some(NotAnEntry::Corrupt("a range"))),
        ("key length", 0x80, &ALL[..4], Some(NotAnEntry::Corrupt("lengths that exceed the head"))),
        ("count of fields", 0x84, &[0xFF, 0x1F], Some(NotAnEntry::Corrupt("tables that exceed the head"))),
        ("count of fields, the greatest", 0x84, &ALL[..2], Some(NotAnEntry::Corrupt("too many lines"))),
        ("count of selecting", 0x86, &ALL[..2], Some(NotAnEntry::Corrupt("too many lines"))),
        ("count of groups", 0x88, &ALL[..2], Some(NotAnEntry::Corrupt("too many lines"))),
        ("source of the lifetime", 0x8A, &[6], Some(NotAnEntry::Corrupt("the source of the lifetime"))),
        ("length of a value", 0x90, &ALL[..4], Some(NotAnEntry::Corrupt("lengths that exceed the head"))),
        (
            "length of a value, one less",
            0x90,
            &[24],
            Some(NotAnEntry::Corrupt("text that does not match its lengths")),
        ),
        ("length of a name", 0x94, &[11], Some(NotAnEntry::Corrupt("text that does not match its lengths"))),
        (
            "flags of a line",
            0x96,
            &[2],
            Some(NotAnEntry::Corrupt("a flag that this version does not define")),
        ),
        (
            "flags of a selecting field",
            0xCE,
            &[2],
            Some(NotAnEntry::Corrupt("a value for an absent header field")),
        ),
        ("status code", block + 9, b"099", Some(NotAnEntry::Corrupt("the status code"))),
        ("a name's case", block + 15, b"C", Some(NotAnEntry::Corrupt("the name of a header field"))),
        ("a value's bytes", block + 29, b"\n", Some(NotAnEntry::Corrupt("the value of a header field"))),
    ] {
        let decoded = codec::decode_head(&tampered(at, with), &key());
        assert_eq!(decoded.err(), expected, "{what}");
    }
}
