//! The cost of the stored format: encoding and decoding, beside copying and checksumming the same
//! bytes.

mod setting;

use std::hint::black_box;

use bytes::Bytes;
use criterion::Throughput;
use larder_core::{EntryId, codec};
use larder_testkit::fixtures::head;
use setting::{SIZES, body, criterion, key};

fn main() {
    let mut criterion = criterion();
    let (key, head) = (key(42), head());
    for (size, length) in SIZES {
        let mut group = criterion.benchmark_group(format!("codec/{size}"));
        group.throughput(Throughput::Bytes(length as u64));
        let body = body(length);
        let mut whole = Vec::new();
        codec::encode_whole(&key, &head, EntryId(7), &body, &mut whole).expect("it fits");
        let bytes = Bytes::from(whole.clone());
        group.bench_function("larder, encode", |bencher| {
            bencher.iter(|| {
                whole.clear();
                codec::encode_whole(&key, &head, EntryId(7), black_box(&body), &mut whole).expect("it fits");
            });
        });
        group.bench_function("larder, decode and verify", |bencher| {
            bencher.iter(|| black_box(codec::decode_whole(black_box(&bytes), &key)).is_ok());
        });
        let mut copy = Vec::with_capacity(length);
        group.bench_function("copy", |bencher| {
            bencher.iter(|| {
                copy.clear();
                copy.extend_from_slice(black_box(&body));
            });
        });
        group
            .bench_function("checksum (crc32)", |bencher| bencher.iter(|| crc32fast::hash(black_box(&body))));
        group.finish();
    }
    criterion.final_summary();
}
