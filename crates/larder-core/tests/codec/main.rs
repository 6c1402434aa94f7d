//! Tests the codec of stored entries: what is written is read back, the bytes never change
//! unnoticed, and any other bytes are a miss with a reason, never a panic and never another
//! response. This file has the response that the tests write.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod bodies;
mod damage;
mod properties;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use larder_core::{
    CacheGroup, CacheKey, EntryId, StoredHead, Timestamp,
    codec::{self, NotAnEntry, NotEncodable, PREFIX},
    policy::{ByteRange, FreshnessInfo, FreshnessLifetime, LifetimeSource, SelectingHeaders, header_names},
};

const ENTRY: EntryId = EntryId(0x0123_4567_89AB_CDEF);
const BODY: &[u8] = b"Jam, two jars.\n";

/// Returns the key of the entry.
fn key() -> CacheKey {
    CacheKey::from_parts("https", "larder.example", "/shelf/2?jar=plum").unwrap()
}

/// Returns the freshness information of the entry.
fn freshness() -> FreshnessInfo {
    let mut lifetime = FreshnessLifetime::default();
    lifetime.lifetime = Duration::from_secs(600);
    lifetime.from = LifetimeSource::SMaxage;
    let mut freshness = FreshnessInfo::default();
    freshness.request_time = Timestamp::from_millis(1_800_000_000_250);
    freshness.response_time = Timestamp::from_millis(1_800_000_000_750);
    freshness.corrected_initial_age = Duration::from_millis(3500);
    freshness.lifetime = lifetime;
    freshness.date = Timestamp::from_secs(1_799_999_998);
    freshness.immutable = true;
    freshness.stale_while_revalidate = Some(Duration::from_secs(30));
    freshness.stale_if_error = Some(Duration::from_secs(86_400));
    freshness
}

/// Returns a head with one of every kind of value.
fn head() -> StoredHead {
    let mut fields = HeaderMap::new();
    fields.append("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.append(header_names::ETAG, HeaderValue::from_static("\"plum-7\""));
    fields.append("link", HeaderValue::from_static("</shelf/1>; rel=prev"));
    fields.append("link", HeaderValue::from_static("</shelf/3>; rel=next"));
    fields.append("x-empty", HeaderValue::from_static(""));
    fields.append("x-obs-text", HeaderValue::from_bytes(b"Zwetschgenmus \xFC").unwrap());
    let mut secret = HeaderValue::from_static("do not compress");
    secret.set_sensitive(true);
    fields.append("x-secret", secret);
    let selecting = vec![
        (HeaderName::from_static("accept-language"), Some(b"de,en".to_vec())),
        (HeaderName::from_static("x-shelf"), None),
    ];
    StoredHead::from_stored(
        StatusCode::PARTIAL_CONTENT,
        fields,
        SelectingHeaders::from_stored(selecting, false),
        freshness(),
        Box::new([
            CacheGroup::new("https://larder.example", "jam"),
            CacheGroup::new("https://larder.example", "shelf 2"),
        ]),
        ByteRange::new(100, 114, Some(4096)),
    )
}

/// Returns the encoded head, without a body length.
fn encoded_head() -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_head(&key(), &head(), ENTRY, None, &mut out).unwrap();
    out
}

/// Returns the encoded entry.
fn encoded_whole() -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_whole(&key(), &head(), ENTRY, BODY, &mut out).unwrap();
    out
}

/// Formats rows of sixteen bytes, as `hexdump -C` prints them.
fn dump(bytes: &[u8]) -> String {
    let row = |(index, row): (usize, &[u8])| {
        let hex: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String =
            row.iter().map(|byte| if matches!(byte, 32..=126) { char::from(*byte) } else { '.' }).collect();
        format!("{:08x}  {:<47}  |{text}|\n", index * 16, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(row).collect()
}

/// If this fails, existing entries on users' disks are read differently: raise `VERSION`, and add a
/// new file.
#[test]
fn the_bytes_of_version_2_never_change() {
    assert_eq!(codec::VERSION, 2);
    let dumped = dump(&encoded_whole());
    assert!(dumped == include_str!("entry-v2.hex"), "tests/codec/entry-v2.hex is not:\n{dumped}");
}

/// If this fails, policy has a value that the format does not store: extend the codec, and raise
/// `VERSION`.
#[test]
fn the_codec_encodes_every_field_of_freshness_info() {
    let expected = "FreshnessInfo { request_time: Timestamp(0), response_time: Timestamp(0), corrected_initial_age: 0ns, \
        lifetime: FreshnessLifetime { lifetime: 0ns, from: Unspecified }, date: Timestamp(0), must_revalidate: false, \
        no_cache: false, immutable: false, stale_while_revalidate: None, stale_if_error: None }";
    assert_eq!(format!("{:?}", FreshnessInfo::default()), expected);
}

#[test]
fn every_value_is_read_back() {
    let bytes = Bytes::from(encoded_whole());
    let (decoded, body) = codec::decode_whole(&bytes, &key()).unwrap();
    assert_eq!(decoded.head, head());
    assert_eq!(decoded.entry, ENTRY);
    assert_eq!(decoded.body_length, Some(BODY.len() as u64));
    assert_eq!(decoded.length, codec::head_length(&bytes[..PREFIX]).unwrap());
    assert_eq!(body, BODY);
    assert_eq!(codec::stored_key(&bytes).unwrap(), key());

    let lines: Vec<_> = decoded.head.fields.get_all("link").iter().collect();
    assert_eq!(lines, ["</shelf/1>; rel=prev", "</shelf/3>; rel=next"]);
    let sensitive = |name| decoded.head.fields[name].is_sensitive();
    assert!(sensitive("x-secret") && !sensitive("x-empty"), "`==` ignores this flag");
}

#[test]
fn values_and_body_are_slices_of_the_buffer() {
    let bytes = Bytes::from(encoded_whole());
    let (decoded, body) = codec::decode_whole(&bytes, &key()).unwrap();
    let within = bytes.as_ptr_range();
    assert!(within.contains(&body.as_ptr()));
    for value in decoded.head.fields.values().filter(|value| !value.is_empty()) {
        assert!(within.contains(&value.as_bytes().as_ptr()), "{value:?} was copied");
    }
}

#[test]
fn an_unknown_body_length_is_read_back_as_unknown() {
    let bytes = Bytes::from(encoded_head());
    let decoded = codec::decode_head(&bytes, &key()).unwrap();
    assert_eq!((decoded.body_length, decoded.length), (None, bytes.len()));
}

#[test]
fn the_head_of_another_key_is_a_miss() {
    let bytes = Bytes::from(encoded_whole());
    for other in [
        CacheKey::from_parts("https", "larder.example", "/shelf/2?jar=plums").unwrap(),
        CacheKey::from_parts("https", "larder.example", "/shelf/2?jar=plun").unwrap(),
        key().with_extra(b""),
    ] {
        assert_eq!(codec::decode_head(&bytes, &other), Err(NotAnEntry::OtherKey));
        assert_eq!(codec::decode_whole(&bytes, &other), Err(NotAnEntry::OtherKey));
    }
}

#[test]
fn the_largest_times_and_durations_are_read_back() {
    let mut longest = head();
    longest.freshness.corrected_initial_age = Duration::MAX;
    longest.freshness.lifetime.lifetime = Duration::MAX;
    longest.freshness.stale_if_error = Some(Duration::MAX);
    longest.freshness.date = Timestamp::from_millis(u64::MAX);
    let mut out = Vec::new();
    codec::encode_head(&key(), &longest, ENTRY, None, &mut out).unwrap();
    assert_eq!(codec::decode_head(&out.into(), &key()).unwrap().head, longest);
}

#[test]
fn what_cannot_be_decoded_is_not_encoded() {
    let group = CacheGroup::new("https://larder.example", "jam");
    let mut many_groups = head();
    many_groups.groups = vec![group; 2049].into();
    let mut many_lines = head();
    let mut long = head();
    for number in 0..8192 {
        many_lines.fields.append("x-many", HeaderValue::from(number));
        long.fields.append(
            "x-long",
            HeaderValue::from_static(concat!(
                "0123456789012345678901234567890123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
            )),
        );
    }
    long.fields.remove("link");
    long.fields.remove("content-type");
    let long_key = key().with_extra(&vec![0; codec::MAX_HEAD]);
    for (what, key, head, body) in [
        ("groups", &key(), &many_groups, 0),
        ("header fields", &key(), &many_lines, 0),
        ("header fields", &key(), &long, 0),
        ("bytes of head", &long_key, &head(), 0),
        ("bytes of body", &key(), &head(), codec::MAX_BODY + 1),
    ] {
        let mut out = b"before".to_vec();
        let error = codec::encode_head(key, head, ENTRY, Some(body), &mut out).unwrap_err();
        assert!(matches!(error, NotEncodable::TooLarge { what: found, .. } if found == what), "{error}");
        assert_eq!(out, b"before");
    }
}
