//! Tests bodies and their trailers: a body's end is proven, it belongs to its head, and a range can
//! be verified alone.

use bytes::Bytes;
use larder_core::{
    EntryId,
    codec::{self, BLOCK, BodyChecksum, NotAnEntry, Trailer},
};

use crate::{BODY, ENTRY, head, key};

/// A file that was cut, or a fill that was interrupted: the file does not end with a trailer.
#[test]
fn a_body_without_its_trailer_is_a_miss() {
    let body = vec![b'x'; 3 * BLOCK];
    let mut whole = Vec::new();
    codec::encode_head(&key(), &head(), ENTRY, None, &mut whole).unwrap();
    let mut checksum = BodyChecksum::new();
    checksum.update(&body);
    whole.extend_from_slice(&body);
    checksum.finish(ENTRY).encode(&mut whole);
    let whole = Bytes::from(whole);
    assert_eq!(codec::decode_whole(&whole, &key()).unwrap().1.len(), body.len());
    for cut in 1..2000 {
        let cut = whole.slice(..whole.len() - cut);
        assert!(codec::decode_whole(&cut, &key()).is_err());
        assert!(Trailer::decode(&cut).is_err());
    }
}

/// Two concurrent fills of one key: the head of one is never combined with the body of the other.
#[test]
fn a_body_of_another_entry_is_a_miss() {
    let mut mixed = Vec::new();
    codec::encode_head(&key(), &head(), ENTRY, Some(BODY.len() as u64), &mut mixed).unwrap();
    mixed.extend_from_slice(BODY);
    let mut checksum = BodyChecksum::new();
    checksum.update(BODY);
    checksum.finish(EntryId(ENTRY.0 + 1)).encode(&mut mixed);
    let decoded = codec::decode_whole(&Bytes::from(mixed), &key());
    assert_eq!(decoded, Err(NotAnEntry::Corrupt("a trailer that belongs to another body")));
}

#[test]
fn a_range_is_verified_by_the_blocks_it_touches() {
    let body: Vec<u8> = (0..3 * BLOCK + 100).map(|position| (position / 7) as u8).collect();
    let mut checksum = BodyChecksum::new();
    checksum.update(&body);
    let trailer = checksum.finish(ENTRY);
    let block = BLOCK as u64;
    let length = body.len() as u64;
    for (range, covering) in [
        (0..1, 0..block),
        (0..block, 0..block),
        (block - 1..block + 1, 0..2 * block),
        (2 * block..2 * block, 2 * block..2 * block),
        (length - 1..length, 3 * block..length),
        (5..u64::MAX, 0..length),
        (length + 9 * block..u64::MAX, 3 * block..length),
    ] {
        assert_eq!(trailer.covering(range.clone()), covering, "{range:?}");
    }
    for flipped in (0..body.len()).step_by(4093).chain([body.len() - 1]) {
        let mut damaged = body.clone();
        damaged[flipped] ^= 0x10;
        for (index, chunk) in damaged.chunks(BLOCK).enumerate() {
            let verified = trailer.verify((index * BLOCK) as u64, chunk);
            assert_eq!(verified.is_err(), index == flipped / BLOCK, "byte {flipped}, block {index}");
        }
    }
    let not_whole = Err(NotAnEntry::Corrupt("a range of the body that is not whole blocks"));
    assert_eq!(trailer.verify(1, &body[1..BLOCK]), not_whole);
    assert_eq!(trailer.verify(0, &body[..BLOCK - 1]), not_whole);
    assert_eq!(trailer.verify(3 * block, &body[2 * BLOCK..]), not_whole);
    assert_eq!(trailer.verify(u64::MAX / block * block, &body[..BLOCK]), not_whole);
    assert_eq!(trailer.verify(0, &body), Ok(()));
}

#[test]
fn a_trailer_reports_how_many_bytes_it_needs() {
    let mut checksum = BodyChecksum::new();
    checksum.update(&vec![1; 5 * BLOCK]);
    let trailer = checksum.finish(ENTRY);
    let mut bytes = b"the body's last bytes".to_vec();
    trailer.encode(&mut bytes);
    let bytes = Bytes::from(bytes);
    let needed = usize::try_from(trailer.encoded_length()).unwrap();
    assert_eq!(needed, 5 * 4 + 32);
    assert_eq!(Trailer::decode(&bytes), Ok(trailer));
    for read in 0..needed {
        let expected = if read < 32 { 32 } else { needed };
        let decoded = Trailer::decode(&bytes.slice(bytes.len() - read..));
        assert_eq!(decoded, Err(NotAnEntry::Truncated { needed: expected }));
    }
}
