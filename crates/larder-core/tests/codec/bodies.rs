//! Tests bodies and their trailers: a body's end is proven, it belongs to its head, and a range can
//! be verified alone.

use std::{
    future::poll_fn,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use larder_core::{
    EntryId, StoreError, StoreErrorKind,
    codec::{self, BLOCK, BlockReader, BodyChecksum, NotAnEntry, Trailer},
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

/// Returns a body of three blocks and a bit, and its trailer.
fn body_of_blocks() -> (Bytes, Trailer) {
    let body: Vec<u8> = (0..3 * BLOCK + 100).map(|position| (position / 7) as u8).collect();
    let mut checksum = BodyChecksum::new();
    checksum.update(&body);
    (body.into(), checksum.finish(ENTRY))
}

/// Reads a stream to its end, and returns the bytes or the error, and the ranges that were read.
async fn read_all(reader: BlockReader, stored: Bytes) -> (Result<Vec<u8>, StoreErrorKind>, Vec<Range<u64>>) {
    let reads = Arc::new(Mutex::new(Vec::new()));
    let read = {
        let reads = Arc::clone(&reads);
        move |range: Range<u64>| {
            reads.lock().expect("no panic").push(range.clone());
            let within = |position: u64| (position as usize).min(stored.len());
            let bytes = stored.slice(within(range.start)..within(range.end));
            // A source that is not ready at once.
            async move {
                tokio::task::yield_now().await;
                Ok(bytes)
            }
        }
    };
    let damaged = |_| async {
        tokio::task::yield_now().await;
        StoreError::new(StoreErrorKind::Corrupt, "test", "damaged")
    };
    let mut stream = reader.into_stream(read, damaged);
    let mut all = Vec::new();
    let result = loop {
        match poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            Some(Ok(chunk)) => all.extend_from_slice(&chunk),
            Some(Err(error)) => break Err(error.kind()),
            None => break Ok(all),
        }
    };
    assert!(poll_fn(|cx| stream.as_mut().poll_next(cx)).await.is_none(), "a stream that has ended goes on");
    let reads = reads.lock().expect("no panic").clone();
    (result, reads)
}

#[tokio::test]
async fn a_block_reader_returns_exactly_its_range() {
    let (body, trailer) = body_of_blocks();
    let length = body.len() as u64;
    let positions = [0, 1, 65_535, 65_536, 65_537, 131_072, 196_608, 196_700, length - 1, length];
    for (start, end) in positions.into_iter().flat_map(|start| positions.map(|end| (start, end))) {
        for reader in [1, 2, 4].into_iter().flat_map(|blocks| {
            let reader = BlockReader::new(trailer.clone(), Some(start..end)).with_blocks_per_read(blocks);
            [reader.clone(), reader.with_aligned_reads()]
        }) {
            let (read, reads) = read_all(reader, body.clone()).await;
            let expected = body.get(start as usize..end as usize).unwrap_or_default();
            assert!(read == Ok(expected.to_vec()), "{start}..{end}");
            assert_eq!(reads.is_empty(), expected.is_empty(), "{start}..{end}");
        }
    }
    let (read, reads) = read_all(BlockReader::new(trailer.clone(), Some(5..u64::MAX)), body.clone()).await;
    assert!(read == Ok(body[5..].to_vec()));
    assert_eq!((reads.len(), &reads[0]), (1, &(0..length)), "all of it in one read of four blocks");
    let aligned =
        BlockReader::new(trailer, Some(70_000..200_000)).with_blocks_per_read(2).with_aligned_reads();
    assert_eq!(read_all(aligned, body).await.1, [65_536..131_072, 131_072..length]);
}

/// A file was cut, or a byte of it flipped, while it was read. The reader got an error, and nothing
/// of the damaged block.
#[tokio::test]
async fn a_block_reader_fails_on_short_and_damaged_blocks() {
    let (body, trailer) = body_of_blocks();
    for cut in [0, 1, 65_536, 65_537, body.len() - 1] {
        let reader = BlockReader::new(trailer.clone(), None).with_blocks_per_read(1);
        assert_eq!(read_all(reader, body.slice(..cut)).await.0, Err(StoreErrorKind::Corrupt), "{cut}");
    }
    for flipped in [0, 65_535, 65_536, body.len() - 1] {
        let mut damaged = body.to_vec();
        damaged[flipped] ^= 1;
        let damaged = Bytes::from(damaged);
        let block = (flipped / BLOCK * BLOCK) as u64;
        let whole = BlockReader::new(trailer.clone(), None);
        assert_eq!(read_all(whole, damaged.clone()).await.0, Err(StoreErrorKind::Corrupt), "{flipped}");
        let before = BlockReader::new(trailer.clone(), Some(0..block)).with_blocks_per_read(1);
        assert!(read_all(before, damaged).await.0.is_ok(), "the blocks before {flipped} are not damaged");
    }
    let mut reader = BlockReader::new(trailer, None);
    assert_eq!(
        reader.accept(&body.slice(..10)),
        Err(NotAnEntry::Truncated { needed: body.len() }),
        "the reader does not advance"
    );
    assert_eq!(reader.accept(&body), Ok(body.clone()));
    assert!(reader.accept(&body).is_err());
}
