//! What the store keeps of bodies: those that are evicted are freed at once, and those that are
//! stored have no unused room.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};
use larder_core::{CacheStore as _, StoredHead};
use larder_memory::{MemoryOptions, MemoryStore};
use larder_testkit::{head, key};

const CAPACITY: u64 = 64 << 20;

/// Creates a store.
fn store() -> MemoryStore {
    MemoryStore::new(MemoryOptions::default().with_capacity(CAPACITY))
}

/// Stores a body of these chunks under `path`.
async fn write(store: &MemoryStore, head: &Arc<StoredHead>, path: &str, chunks: Vec<Bytes>, announced: bool) {
    let reserved = store.reserve(&key(path)).await.expect("it reserves");
    let length = announced.then(|| chunks.iter().map(|chunk| chunk.len() as u64).sum());
    let mut writer = reserved.begin(Arc::clone(head), length, head.keep_until()).await.expect("it begins");
    for chunk in chunks {
        writer.write(chunk).await.expect("it takes the chunk");
    }
    writer.commit().await.expect("it commits");
}

/// A proxy with `memory:64MiB` had up to 200 MiB: the map kept hundreds of entries that it had
/// evicted, whatever their size. Each entry has a reference to the head.
#[test]
fn evicted_bodies_are_freed() {
    const LENGTH: usize = 512 << 10;
    const THREADS: usize = 4;
    let (store, peak) = (store(), AtomicUsize::new(0));
    let head = Arc::new(head(&[("cache-control", "max-age=60")], &[]));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, peak, head) = (&store, &peak, &head);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    for number in 0..400 {
                        let chunk = Bytes::from(vec![0; LENGTH]);
                        write(store, head, &format!("/{thread}/{number}"), vec![chunk], true).await;
                        peak.fetch_max(Arc::strong_count(head), Ordering::SeqCst);
                        let _ = store.lookup(&key(&format!("/{thread}/{}", number / 2))).await;
                    }
                });
            });
        }
    });
    let (peak, most) = (peak.load(Ordering::SeqCst), usize::try_from(CAPACITY).expect("a length") / LENGTH);
    // Those that are stored, being written and being evicted.
    assert!(peak <= most + 2 * THREADS + 1, "{peak} bodies were alive, where {most} fit");
}

/// Each chunk of a long body was a slice of a read buffer of twice its length or more.
#[tokio::test]
async fn long_bodies_keep_no_read_buffers() {
    struct ReadBuffer(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for ReadBuffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for ReadBuffer {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    let store = store();
    let head = Arc::new(head(&[("cache-control", "max-age=60")], &[]));
    for announced in [true, false] {
        let alive = Arc::new(AtomicUsize::new(0));
        let (mut expected, mut chunks) = (BytesMut::new(), Vec::new());
        for number in 0..60_u8 {
            alive.fetch_add(1, Ordering::SeqCst);
            let length = 40_000 + 100 * usize::from(number);
            let buffer = Bytes::from_owner(ReadBuffer(vec![number; 64 << 10], Arc::clone(&alive)));
            chunks.push(buffer.slice(..length));
            expected.extend_from_slice(&chunks[usize::from(number)]);
        }
        write(&store, &head, "/long", chunks, announced).await;
        assert_eq!(alive.load(Ordering::SeqCst), 0, "announced: {announced}");
        let found = store.lookup(&key("/long")).await.expect("it looks up");
        let larder_core::StoredBody::Source(source) = &found[0].body else { panic!("it is long") };
        let stream = source.stream(Some(1000..expected.len() as u64)).await.expect("it opens");
        let body = larder_core::Body::from_stream(stream).into_bytes(usize::MAX).await.expect("it is whole");
        assert!(body == expected[1000..], "announced: {announced}");
    }
}
