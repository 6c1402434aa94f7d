//! Tests the codec with generated input: any head, key and body are read back, and any bytes decode
//! to a value.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use larder_core::{
    CacheGroup, CacheKey, EntryId, StoredHead, Timestamp,
    codec::{self, BLOCK, BodyChecksum, PREFIX, Trailer},
    policy::{ByteRange, FreshnessInfo, LifetimeSource, SelectingHeaders, header_names},
};
use proptest::{collection::vec, option, prelude::*};

use crate::{damage::resealed, encoded_head, key};

fn any_name() -> impl Strategy<Value = HeaderName> {
    let standard = [header_names::ETAG, header_names::SET_COOKIE, header_names::VARY, header_names::DATE];
    prop_oneof![
        proptest::sample::select(standard.to_vec()),
        "[!#$%&'*+.^_`|~a-z0-9-]{1,80}".prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()),
    ]
}

/// Generates visible bytes, white space also at the ends, and obs-text.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'\t'), 0x20_u8..0x7F, 0x80_u8..=0xFF], 0..40)
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn any_freshness() -> impl Strategy<Value = FreshnessInfo> {
    let sources = [
        LifetimeSource::Unspecified,
        LifetimeSource::SMaxage,
        LifetimeSource::MaxAge,
        LifetimeSource::Expires,
        LifetimeSource::Heuristic,
        LifetimeSource::Override,
    ];
    let source = proptest::sample::select(sources.to_vec());
    let times = any::<[u64; 3]>();
    let durations = (any_duration(), any_duration(), option::of(any_duration()), option::of(any_duration()));
    (times, durations, any::<[bool; 3]>(), source).prop_map(|(times, durations, flags, from)| {
        let mut freshness = FreshnessInfo::default();
        freshness.request_time = Timestamp::from_millis(times[0]);
        freshness.response_time = Timestamp::from_millis(times[1]);
        freshness.date = Timestamp::from_millis(times[2]);
        (
            freshness.corrected_initial_age,
            freshness.lifetime.lifetime,
            freshness.stale_while_revalidate,
            freshness.stale_if_error,
        ) = durations;
        freshness.lifetime.from = from;
        [freshness.must_revalidate, freshness.no_cache, freshness.immutable] = flags;
        freshness
    })
}

fn any_part() -> impl Strategy<Value = Option<ByteRange>> {
    (any::<u64>(), any::<u64>(), option::of(any::<u64>()))
        .prop_map(|(first, last, complete)| ByteRange::new(first, last, complete))
}

prop_compose! {
    fn any_head()(
        status in 100_u16..1000,
        lines in vec((any_name(), any_value(), any::<bool>()), 0..40),
        selecting in vec((any_name(), option::of(any_value())), 0..8),
        never_matches in any::<bool>(),
        freshness in any_freshness(),
        groups in vec((".{0,30}", ".{0,30}"), 0..40),
        part in any_part(),
    ) -> StoredHead {
        let mut fields = HeaderMap::new();
        for (name, value, sensitive) in lines {
            let mut value = HeaderValue::from_bytes(&value).unwrap();
            value.set_sensitive(sensitive);
            fields.append(name, value);
        }
        let groups = groups.iter().map(|(origin, name)| CacheGroup::new(origin, name)).collect();
        let selecting = SelectingHeaders::from_stored(selecting, never_matches);
        StoredHead::from_stored(StatusCode::from_u16(status).unwrap(), fields, selecting, freshness, groups, part)
    }
}

fn any_key() -> impl Strategy<Value = CacheKey> {
    ("/[a-z0-9/?&=%]{0,60}", option::of(vec(any::<u8>(), 0..40))).prop_map(|(path, extra)| {
        let key = key().with_extra(path.as_bytes());
        extra.map_or(key.clone(), |extra| key.with_extra(&extra))
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        key in any_key(),
        head in any_head(),
        entry: u64,
        body in vec(any::<u8>(), 0..300),
        behind in vec(any::<u8>(), 0..40),
    ) {
        let mut out = Vec::new();
        codec::encode_whole(&key, &head, EntryId(entry), &body, &mut out).unwrap();
        let (decoded, read) = codec::decode_whole(&Bytes::from(out.clone()), &key).unwrap();
        prop_assert_eq!(&decoded.head, &head);
        prop_assert_eq!(decoded.entry, EntryId(entry));
        prop_assert_eq!(read, &body);
        prop_assert_eq!(codec::stored_key(&out).unwrap(), key.clone());
        let sensitive = |head: &StoredHead| -> Vec<bool> { head.fields.values().map(HeaderValue::is_sensitive).collect() };
        prop_assert_eq!(sensitive(&decoded.head), sensitive(&head));

        // Decoding the head alone ignores what follows it.
        out.truncate(decoded.length);
        out.extend_from_slice(&behind);
        prop_assert_eq!(codec::decode_head(&out.into(), &key).unwrap(), decoded);
    }

    #[test]
    fn a_trailer_does_not_depend_on_the_chunks(
        lengths in vec(0..BLOCK * 2, 0..6),
        entry: u64,
    ) {
        let body: Vec<u8> = (0..lengths.iter().sum::<usize>()).map(|position| (position % 251) as u8).collect();
        let mut at_once = BodyChecksum::new();
        at_once.update(&body);
        let mut chunked = BodyChecksum::new();
        let mut rest = &body[..];
        for length in lengths {
            let (chunk, later) = rest.split_at(length);
            chunked.update(chunk);
            rest = later;
        }
        prop_assert_eq!(chunked.length(), body.len() as u64);
        let trailer = chunked.finish(EntryId(entry));
        prop_assert_eq!(&trailer, &at_once.finish(EntryId(entry)));
        prop_assert!(trailer.verify(0, &body).is_ok());
        let mut bytes = Vec::new();
        trailer.encode(&mut bytes);
        prop_assert_eq!(bytes.len() as u64, Trailer::length_for(body.len() as u64));
        prop_assert_eq!(Trailer::decode(&bytes.into()).unwrap(), trailer);
    }

    #[test]
    fn any_bytes_are_a_value(bytes in vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(codec::decode_whole(&bytes, &key()).is_err());
        prop_assert!(codec::stored_key(&bytes).is_err());
        prop_assert!(Trailer::decode(&bytes).is_err());
    }

    /// Changes bytes behind a correct checksum, so that the rest of the decoder sees them.
    #[test]
    fn changed_bytes_decode_to_what_can_be_encoded(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encoded_head();
        for (at, byte) in changes {
            let at = PREFIX + at.index(bytes.len() - PREFIX);
            bytes[at] = byte;
        }
        if let Ok(first) = codec::decode_head(&resealed(bytes), &key()) {
            let mut again = Vec::new();
            codec::encode_head(&key(), &first.head, first.entry, first.body_length, &mut again).unwrap();
            prop_assert_eq!(codec::decode_head(&again.into(), &key()).unwrap(), first);
        }
    }
}
