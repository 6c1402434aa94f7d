//! Measures the codec of stored entries: encoding and decoding a head of 12 fields, and the
//! checksum of a body.
//!
//! `cargo run -p larder-core --profile bench --example codec_timing`

use std::{hint::black_box, io::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use larder_core::{
    CacheKey, Clock, EntryId, StoredHead, SystemClock,
    codec::{self, BodyChecksum},
    policy::{FreshnessInfo, SelectingHeaders, header_names},
};

const ENTRY: EntryId = EntryId(0x0123_4567_89AB_CDEF);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = CacheKey::from_parts("https", "www.example.com", "/assets/app-7f3a.js?v=12")?;
    let head = head();
    let mut encoded = Vec::new();
    codec::encode_head(&key, &head, ENTRY, Some(1024), &mut encoded)?;
    let bytes = Bytes::from(encoded.clone());
    let mut whole = Vec::new();
    codec::encode_whole(&key, &head, ENTRY, &[7; 1024], &mut whole)?;
    let whole = Bytes::from(whole);
    let pairs: Vec<_> = head.fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();

    let mut out = std::io::stdout().lock();
    let lines = head.fields.len();
    writeln!(out, "{lines} fields, {} bytes of head; ns, best of 9 rounds", bytes.len())?;
    let decoding = best(|| drop(black_box(codec::decode_head(black_box(&bytes), &key))));
    writeln!(out, "decode_head                                    {decoding:7.0}")?;
    let building = best(|| {
        let mut map = HeaderMap::with_capacity(pairs.len());
        for (name, value) in &pairs {
            map.append(name.clone(), value.clone());
        }
        drop(black_box(map));
    });
    writeln!(out, "  of which: building such a HeaderMap          {building:7.0}")?;
    let checking = best(|| {
        black_box(crc32fast::hash(black_box(&bytes)));
    });
    writeln!(out, "  of which: the checksum                       {checking:7.0}")?;
    let both = best(|| drop(black_box(codec::decode_whole(black_box(&whole), &key))));
    writeln!(out, "decode_whole, with 1 KiB of body               {both:7.0}")?;
    let mut buffer = Vec::with_capacity(encoded.len());
    let encoding = best(|| {
        buffer.clear();
        black_box(codec::encode_head(&key, black_box(&head), ENTRY, Some(1024), &mut buffer)).ok();
    });
    writeln!(out, "encode_head, into an existing buffer           {encoding:7.0}")?;

    for length in [1024, 64 * 1024, 1024 * 1024] {
        let body = vec![7; length];
        let nanos = best(|| {
            let mut checksum = BodyChecksum::new();
            checksum.update(black_box(&body));
            black_box(checksum.finish(ENTRY));
        });
        writeln!(
            out,
            "BodyChecksum of {length:8} bytes: {nanos:9.0} ns, {:5.1} GB/s",
            length as f64 / nanos
        )?;
    }
    Ok(())
}

/// Returns a head with 12 header fields.
fn head() -> StoredHead {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        (header_names::CONTENT_LENGTH, "1024"),
        (HeaderName::from_static("content-type"), "application/javascript; charset=utf-8"),
        (header_names::DATE, "Thu, 24 Sep 2026 10:00:00 GMT"),
        (header_names::ETAG, "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        (header_names::LAST_MODIFIED, "Wed, 23 Sep 2026 09:30:00 GMT"),
        (HeaderName::from_static("server"), "nginx"),
        (header_names::ACCEPT_RANGES, "bytes"),
        (HeaderName::from_static("strict-transport-security"), "max-age=31536000; includeSubDomains"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("content-security-policy"), "default-src 'self'; img-src *"),
        (HeaderName::from_static("x-request-id"), "5f0c1d9e-7d1e-4c0e-9d5e-0a4b2c6d8e1f"),
        (HeaderName::from_static("access-control-allow-origin"), "*"),
    ] {
        fields.append(name, HeaderValue::from_static(value));
    }
    let selecting = SelectingHeaders::default();
    StoredHead::from_stored(StatusCode::OK, fields, selecting, FreshnessInfo::default(), Box::default(), None)
}

/// Returns the nanoseconds of one call, the best of nine rounds.
fn best(mut call: impl FnMut()) -> f64 {
    let clock = SystemClock;
    let mut rounds = |calls: u32| {
        let begun = clock.now();
        for _ in 0..calls {
            call();
        }
        clock.now().since(begun)
    };
    // The clock has a resolution of one millisecond, so a round has as many calls as take fifty.
    let mut calls = 1;
    while rounds(calls) < Duration::from_millis(50) {
        calls *= 2;
    }
    let best = (0..9).map(|_| rounds(calls)).min().unwrap_or_default();
    best.as_nanos() as f64 / f64::from(calls)
}
