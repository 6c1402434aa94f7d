//! Fuzzes the codec of stored entries. Decoding must not panic, and a decoded head that is encoded
//! and decoded again must be equal.
#![no_main]

use bytes::Bytes;
use larder_core::{
    CacheKey, EntryId,
    codec::{self, BodyChecksum, PREFIX, Trailer},
};
use libfuzzer_sys::fuzz_target;

const ENTRY: EntryId = EntryId(7);

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let key = CacheKey::from_parts("https", "a", "/").expect("a key");
    let _ = codec::decode_whole(&bytes, &key);
    let _ = Trailer::decode(&bytes);
    head(data);
    body(data);
});

/// Decodes a head from the data behind a valid magic, version, length and checksum, so that the
/// decoder reaches the data. Encodes the result and decodes it again.
fn head(data: &[u8]) {
    let mut bytes = b"\x8CLARDER\n\x01\x00".to_vec();
    bytes.extend_from_slice(data.get(..2).unwrap_or_default());
    bytes.resize(PREFIX, 0);
    bytes.extend_from_slice(data.get(2..).unwrap_or_default());
    let Ok(length) = u32::try_from(bytes.len() + 4) else { return };
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let bytes = Bytes::from(bytes);

    let Ok(key) = codec::stored_key(&bytes) else { return };
    let Ok(first) = codec::decode_head(&bytes, &key) else { return };
    let mut encoded = Vec::new();
    codec::encode_head(&key, &first.head, first.entry, first.body_length, &mut encoded)
        .expect("a decoded head is within the limits");
    assert_eq!(encoded.len(), first.length);
    let second = codec::decode_head(&encoded.into(), &key).expect("it was just written");
    assert_eq!(second, first);
}

/// Checks the trailer of a body that arrives in chunks. The data is split into chunks after each
/// line feed.
fn body(data: &[u8]) {
    let mut checksum = BodyChecksum::new();
    for chunk in data.split_inclusive(|byte| *byte == b'\n') {
        checksum.update(chunk);
    }
    let trailer = checksum.finish(ENTRY);
    trailer.verify(0, data).expect("the checksum of the same data");
    let mut bytes = data.to_vec();
    trailer.encode(&mut bytes);
    assert_eq!(Trailer::decode(&bytes.into()), Ok(trailer));
}
