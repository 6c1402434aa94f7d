//! The stored-entry codec: what is written comes back, the bytes never change unnoticed, and whatever else the bytes are
//! is a miss with a reason, never a panic and never another response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use larder_core::{
    ByteRange, CacheGroup, CacheKey, EntryId, FreshnessLifetime, LifetimeFrom, SelectingHeaders, StoredHead,
    Terms, Timestamp,
    codec::{self, BLOCK, BodyChecksum, NotAnEntry, NotEncodable, PREFIX, Trailer},
    names,
};
use proptest::{collection::vec, option, prelude::*};

const ENTRY: EntryId = EntryId(0x0123_4567_89AB_CDEF);
const BODY: &[u8] = b"Jam, two jars.\n";

fn key() -> CacheKey {
    CacheKey::of_parts("https", "larder.example", "/shelf/2?jar=plum").unwrap()
}

fn terms() -> Terms {
    let mut lifetime = FreshnessLifetime::default();
    lifetime.lifetime = Duration::from_secs(600);
    lifetime.from = LifetimeFrom::SMaxage;
    let mut terms = Terms::default();
    terms.request_time = Timestamp::from_millis(1_800_000_000_250);
    terms.response_time = Timestamp::from_millis(1_800_000_000_750);
    terms.corrected_initial_age = Duration::from_millis(3500);
    terms.lifetime = lifetime;
    terms.date = Timestamp::from_secs(1_799_999_998);
    terms.immutable = true;
    terms.stale_while_revalidate = Some(Duration::from_secs(30));
    terms.stale_if_error = Some(Duration::from_secs(86_400));
    terms
}

/// A response with one of everything.
fn head() -> StoredHead {
    let mut fields = HeaderMap::new();
    fields.append("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.append(names::ETAG, HeaderValue::from_static("\"plum-7\""));
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
        terms(),
        Box::new([
            CacheGroup::new("https://larder.example", "jam"),
            CacheGroup::new("https://larder.example", "shelf 2"),
        ]),
        ByteRange::new(100, 114, Some(4096)),
    )
}

fn encoded_head() -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_head(&key(), &head(), ENTRY, None, &mut out).unwrap();
    out
}

fn encoded_whole() -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_whole(&key(), &head(), ENTRY, BODY, &mut out).unwrap();
    out
}

/// Rows of sixteen bytes, as `hexdump -C` prints them.
fn dump(bytes: &[u8]) -> String {
    let row = |(index, row): (usize, &[u8])| {
        let hex: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String =
            row.iter().map(|byte| if matches!(byte, 32..=126) { char::from(*byte) } else { '.' }).collect();
        format!("{:08x}  {:<47}  |{text}|\n", index * 16, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(row).collect()
}

/// If this fails, entries that are on people's disks read differently now: raise `VERSION`, and add a new file.
#[test]
fn the_bytes_of_version_1_never_change() {
    assert_eq!(codec::VERSION, 1);
    let dumped = dump(&encoded_whole());
    assert!(dumped == include_str!("golden/entry-v1.hex"), "tests/golden/entry-v1.hex is not:\n{dumped}");
}

/// If this fails, policy has a number that the format does not keep: teach the codec, and raise `VERSION`.
#[test]
fn the_codec_knows_every_term() {
    let expected = "Terms { request_time: Timestamp(0), response_time: Timestamp(0), corrected_initial_age: 0ns, \
        lifetime: FreshnessLifetime { lifetime: 0ns, from: Nowhere }, date: Timestamp(0), must_revalidate: false, \
        no_cache: false, immutable: false, stale_while_revalidate: None, stale_if_error: None }";
    assert_eq!(format!("{:?}", Terms::default()), expected);
}

#[test]
fn everything_comes_back() {
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
    assert!(sensitive("x-secret") && !sensitive("x-empty"), "equality does not look at this");
}

#[test]
fn values_and_body_are_slices_of_what_was_read() {
    let bytes = Bytes::from(encoded_whole());
    let (decoded, body) = codec::decode_whole(&bytes, &key()).unwrap();
    let within = bytes.as_ptr_range();
    assert!(within.contains(&body.as_ptr()));
    for value in decoded.head.fields.values().filter(|value| !value.is_empty()) {
        assert!(within.contains(&value.as_bytes().as_ptr()), "{value:?} was copied");
    }
}

#[test]
fn a_body_length_that_is_not_known_yet_comes_back_as_such() {
    let bytes = Bytes::from(encoded_head());
    let decoded = codec::decode_head(&bytes, &key()).unwrap();
    assert_eq!((decoded.body_length, decoded.length), (None, bytes.len()));
}

#[test]
fn the_head_of_another_key_is_a_miss() {
    let bytes = Bytes::from(encoded_whole());
    for other in [
        CacheKey::of_parts("https", "larder.example", "/shelf/2?jar=plums").unwrap(),
        CacheKey::of_parts("https", "larder.example", "/shelf/2?jar=plun").unwrap(),
        key().with_extra(b""),
    ] {
        assert_eq!(codec::decode_head(&bytes, &other), Err(NotAnEntry::OtherKey));
        assert_eq!(codec::decode_whole(&bytes, &other), Err(NotAnEntry::OtherKey));
    }
}

/// Every bit of head, body and trailer, one at a time.
#[test]
fn every_flipped_bit_is_a_miss() {
    let whole = encoded_whole();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let decoded = codec::decode_whole(&Bytes::from(bytes), &key());
        assert!(decoded.is_err(), "bit {bit} of {} goes unnoticed", whole.len() * 8);
    }
}

#[test]
fn every_cut_is_noticed_and_says_how_much_is_missing() {
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

/// A file that was cut, or a fill that died: the trailer is not where the file ends.
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

/// Two fills of one key at once: the head of the one never gets the body of the other.
#[test]
fn a_body_of_another_entry_is_a_miss() {
    let mut mixed = Vec::new();
    codec::encode_head(&key(), &head(), ENTRY, Some(BODY.len() as u64), &mut mixed).unwrap();
    mixed.extend_from_slice(BODY);
    let mut checksum = BodyChecksum::new();
    checksum.update(BODY);
    checksum.finish(EntryId(ENTRY.0 + 1)).encode(&mut mixed);
    let decoded = codec::decode_whole(&Bytes::from(mixed), &key());
    assert_eq!(decoded, Err(NotAnEntry::Corrupt("a trailer that is not this body's")));
}

/// As `head` is written, then changed, then given a checksum that fits: what a careless or hostile writer leaves.
fn tampered(at: usize, with: &[u8]) -> Bytes {
    let mut bytes = encoded_head();
    bytes[at..at + with.len()].copy_from_slice(with);
    resealed(bytes)
}

fn resealed(mut bytes: Vec<u8>) -> Bytes {
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

#[test]
fn a_right_checksum_is_not_believed_blindly() {
    const ALL: &[u8] = &[0xFF; 8];
    let block = encoded_head().windows(9).position(|window| window == b"HTTP/1.1 ").unwrap();
    for (what, at, with, expected) in [
        ("nothing changed", 0x8B, &[0][..], None),
        ("magic", 0x00, b"h", Some(NotAnEntry::Foreign)),
        ("version", 0x08, &[2, 0], Some(NotAnEntry::UnknownVersion(2))),
        ("flags", 0x0A, &[0, 0x80], Some(NotAnEntry::Corrupt("a flag that this version has not"))),
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
        ("key length", 0x80, &ALL[..4], Some(NotAnEntry::Corrupt("lengths that are longer than the head"))),
        (
            "count of fields",
            0x84,
            &[0xFF, 0x1F],
            Some(NotAnEntry::Corrupt("tables that are longer than the head")),
        ),
        ("count of fields, the greatest", 0x84, &ALL[..2], Some(NotAnEntry::Corrupt("too many lines"))),
        ("count of selecting", 0x86, &ALL[..2], Some(NotAnEntry::Corrupt("too many lines"))),
        ("count of groups", 0x88, &ALL[..2], Some(NotAnEntry::Corrupt("too many lines"))),
        ("source of the lifetime", 0x8A, &[5], Some(NotAnEntry::Corrupt("the source of the lifetime"))),
        (
            "length of a value",
            0x90,
            &ALL[..4],
            Some(NotAnEntry::Corrupt("lengths that are longer than the head")),
        ),
        (
            "length of a value, one less",
            0x90,
            &[24],
            Some(NotAnEntry::Corrupt("text that its lengths do not fit")),
        ),
        ("length of a name", 0x94, &[11], Some(NotAnEntry::Corrupt("text that its lengths do not fit"))),
        ("flags of a line", 0x96, &[2], Some(NotAnEntry::Corrupt("a flag that this version has not"))),
        ("status code", block + 9, b"099", Some(NotAnEntry::Corrupt("the status code"))),
        ("a name's case", block + 15, b"C", Some(NotAnEntry::Corrupt("the name of a header field"))),
        ("a value's bytes", block + 29, b"\n", Some(NotAnEntry::Corrupt("the value of a header field"))),
    ] {
        let decoded = codec::decode_head(&tampered(at, with), &key());
        assert_eq!(decoded.err(), expected, "{what}");
    }
}

#[test]
fn the_end_of_time_comes_back() {
    let mut longest = head();
    longest.terms.corrected_initial_age = Duration::MAX;
    longest.terms.lifetime.lifetime = Duration::MAX;
    longest.terms.stale_if_error = Some(Duration::MAX);
    longest.terms.date = Timestamp::from_millis(u64::MAX);
    let mut out = Vec::new();
    codec::encode_head(&key(), &longest, ENTRY, None, &mut out).unwrap();
    assert_eq!(codec::decode_head(&out.into(), &key()).unwrap().head, longest);
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let group = CacheGroup::new("https://larder.example", "jam");
    let mut many_groups = head();
    many_groups.groups = vec![group; 257].into();
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
        for (index, piece) in damaged.chunks(BLOCK).enumerate() {
            let verified = trailer.verify((index * BLOCK) as u64, piece);
            assert_eq!(verified.is_err(), index == flipped / BLOCK, "byte {flipped}, block {index}");
        }
    }
    let not_whole = Err(NotAnEntry::Corrupt("a piece of a body that is not whole blocks"));
    assert_eq!(trailer.verify(1, &body[1..BLOCK]), not_whole);
    assert_eq!(trailer.verify(0, &body[..BLOCK - 1]), not_whole);
    assert_eq!(trailer.verify(3 * block, &body[2 * BLOCK..]), not_whole);
    assert_eq!(trailer.verify(u64::MAX / block * block, &body[..BLOCK]), not_whole);
    assert_eq!(trailer.verify(0, &body), Ok(()));
}

#[test]
fn a_trailer_says_how_much_of_the_end_it_needs() {
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

fn any_name() -> impl Strategy<Value = HeaderName> {
    let standard = [names::ETAG, names::SET_COOKIE, names::VARY, names::DATE];
    prop_oneof![
        proptest::sample::select(standard.to_vec()),
        "[!#$%&'*+.^_`|~a-z0-9-]{1,80}".prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()),
    ]
}

/// Visible bytes, white space also at the ends, and obs-text.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'\t'), 0x20_u8..0x7F, 0x80_u8..=0xFF], 0..40)
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let sources = [
        LifetimeFrom::Nowhere,
        LifetimeFrom::SMaxage,
        LifetimeFrom::MaxAge,
        LifetimeFrom::Expires,
        LifetimeFrom::Heuristic,
    ];
    let source = proptest::sample::select(sources.to_vec());
    let times = any::<[u64; 3]>();
    let durations = (any_duration(), any_duration(), option::of(any_duration()), option::of(any_duration()));
    (times, durations, any::<[bool; 3]>(), source).prop_map(|(times, durations, flags, from)| {
        let mut terms = Terms::default();
        terms.request_time = Timestamp::from_millis(times[0]);
        terms.response_time = Timestamp::from_millis(times[1]);
        terms.date = Timestamp::from_millis(times[2]);
        (
            terms.corrected_initial_age,
            terms.lifetime.lifetime,
            terms.stale_while_revalidate,
            terms.stale_if_error,
        ) = durations;
        terms.lifetime.from = from;
        [terms.must_revalidate, terms.no_cache, terms.immutable] = flags;
        terms
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
        terms in any_terms(),
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
        StoredHead::from_stored(StatusCode::from_u16(status).unwrap(), fields, selecting, terms, groups, part)
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
    fn whatever_is_written_comes_back(
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

        // The head alone does not care what follows it.
        out.truncate(decoded.length);
        out.extend_from_slice(&behind);
        prop_assert_eq!(codec::decode_head(&out.into(), &key).unwrap(), decoded);
    }

    #[test]
    fn a_body_is_the_same_however_it_arrives(
        lengths in vec(0..BLOCK * 2, 0..6),
        entry: u64,
    ) {
        let body: Vec<u8> = (0..lengths.iter().sum::<usize>()).map(|position| (position % 251) as u8).collect();
        let mut at_once = BodyChecksum::new();
        at_once.update(&body);
        let mut in_pieces = BodyChecksum::new();
        let mut rest = &body[..];
        for length in lengths {
            let (piece, later) = rest.split_at(length);
            in_pieces.update(piece);
            rest = later;
        }
        prop_assert_eq!(in_pieces.length(), body.len() as u64);
        let trailer = in_pieces.finish(EntryId(entry));
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

    /// Behind a checksum that fits, so that the rest of the decoder sees them.
    #[test]
    fn changed_bytes_decode_to_what_can_be_written_again(
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
