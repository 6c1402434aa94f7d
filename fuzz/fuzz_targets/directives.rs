//! Fuzzes the rules with headers of a request and a response. The first line of the data is the
//! request's header, the others are the response's. The first byte of a line selects the name.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use larder_core::{RequestHead, Rules, StoredHead, TargetUri, Timestamp, policy::{Exchange, Failure, header_names, invalidation_groups, invalidation_targets}};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const NAMES: [HeaderName; 16] = [
    header_names::CACHE_CONTROL,
    header_names::CDN_CACHE_CONTROL,
    header_names::EXPIRES,
    header_names::AGE,
    header_names::DATE,
    header_names::LAST_MODIFIED,
    header_names::VARY,
    header_names::PRAGMA,
    header_names::CACHE_GROUPS,
    header_names::CACHE_GROUP_INVALIDATION,
    header_names::LOCATION,
    header_names::CONTENT_LOCATION,
    header_names::CONNECTION,
    header_names::ETAG,
    header_names::AUTHORIZATION,
    header_names::SET_COOKIE,
];

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n').filter_map(line);
    let mut request_fields = HeaderMap::new();
    if let Some((name, value)) = lines.next() {
        request_fields.append(name, value);
    }
    let fields: HeaderMap = lines.collect();
    let request = RequestHead::new(&Method::GET, &request_fields);
    let target = TargetUri::parse("https://a.example/shelf?jar").expect("a target");
    for rules in [Rules::shared(), Rules::private()] {
        let storable =
            |fields: &HeaderMap| rules.storable(&target, &request, StatusCode::OK, fields, EXCHANGE);
        let stored = storable(&fields);

        // RFC 9111 §5.2: names of directives are case-insensitive. Quoted arguments may be field
        // names, which are case-insensitive too.
        let upper = storable(&upper_case(&fields));
        let freshness =
            |stored: &Result<StoredHead, _>| stored.as_ref().ok().map(|head| head.freshness.clone());
        assert_eq!(freshness(&stored), freshness(&upper));

        if let Ok(head) = &stored {
            reuse(&rules, &target, &request, head);
        }
    }
    no_store(&target, &request, fields.clone());
    let _ = invalidation_targets(&Method::POST, &target, StatusCode::OK, &fields);
    let _ = invalidation_groups(&Method::POST, &target, StatusCode::OK, &fields);
});

const EXCHANGE: Exchange = Exchange { request_time: NOW, response_time: NOW };

/// Parses a line into a header: the first byte selects the name, the rest is the value.
fn line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_first()?;
    Some((NAMES[usize::from(*name) % NAMES.len()].clone(), HeaderValue::from_bytes(value).ok()?))
}

/// Returns the headers with the values of `Cache-Control` in upper case.
fn upper_case(fields: &HeaderMap) -> HeaderMap {
    let upper = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = if *name == header_names::CACHE_CONTROL {
            HeaderValue::from_bytes(&value.as_bytes().to_ascii_uppercase())
                .expect("upper case keeps a value valid")
        } else {
            value.clone()
        };
        (name.clone(), value)
    };
    fields.iter().map(upper).collect()
}

/// Decides the reuse of a stored response at several times. Nothing may panic, and a response with
/// `no-cache` is never fresh.
fn reuse(rules: &Rules, target: &TargetUri, request: &RequestHead<'_>, head: &StoredHead) {
    for later in [0, 1, 86_400, 1 << 31, u64::MAX / 1000] {
        let now = NOW.saturating_add(Duration::from_secs(later));
        let decision = rules.reuse(request, [head], now);
        if let larder_core::policy::Reuse::Fresh(_) = decision {
            assert!(!head.freshness.no_cache, "a response with no-cache was served without revalidation");
            assert!(head.selecting.matches(request));
        }
        let _ = rules.stale_on_failure(request, head, now, Failure::Disconnected);
        let exchange = Exchange { request_time: now, response_time: now };
        let _ = rules.freshen(target, request, [head], 0, &head.fields, exchange);
    }
}

/// Checks that a response with `no-store` as its first directive is not stored (RFC 9111 §5.2.2.5).
/// Two cases are excluded: `must-understand` (§5.2.2.3), and a targeted header, which replaces
/// `Cache-Control`.
fn no_store(target: &TargetUri, request: &RequestHead<'_>, mut fields: HeaderMap) {
    fields.remove(header_names::CDN_CACHE_CONTROL);
    let mut values = vec![HeaderValue::from_static("no-store")];
    values.extend(fields.get_all(header_names::CACHE_CONTROL).iter().cloned());
    let understands = |value: &HeaderValue| {
        let lower = value.as_bytes().to_ascii_lowercase();
        lower.windows(15).any(|window| window == b"must-understand")
    };
    if values.iter().any(understands) {
        return;
    }
    fields.remove(header_names::CACHE_CONTROL);
    for value in values {
        fields.append(header_names::CACHE_CONTROL, value);
    }
    let stored = Rules::private().storable(target, request, StatusCode::OK, &fields, EXCHANGE);
    assert!(stored.is_err(), "no-store was stored");
}
