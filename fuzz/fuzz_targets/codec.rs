//! The stored entry: whatever the bytes are, decoding gives a value; and what it takes for a head can be written again
//! and is then the same.
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
    let key = CacheKey::of_parts("https", "a", "/").expect("a key");
    let _ = codec::decode_whole(&bytes, &key);
    let _ = Trailer::decode(&bytes);
    head(data);
    body(data);
});

/// With magic, version, length and checksum put right, so that what is behind them is reached.
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
    let mut again = Vec::new();
    codec::encode_head(&key, &first.head, first.entry, first.body_length, &mut again)
        .expect("what was decoded is within the limits");
    assert_eq!(again.len(), first.length);
    let second = codec::decode_head(&again.into(), &key).expect("it was just written");
    assert_eq!(second, first);
}

/// As a body that arrives in chunks, which the data itself cuts.
fn body(data: &[u8]) {
    let mut checksum = BodyChecksum::new();
    for chunk in data.split_inclusive(|byte| *byte == b'\n') {
        checksum.update(chunk);
    }
    let trailer = checksum.finish(ENTRY);
    trailer.verify(0, data).expect("it is what was written");
    let mut bytes = data.to_vec();
    trailer.encode(&mut bytes);
    assert_eq!(Trailer::decode(&bytes.into()), Ok(trailer));
}
