//! Fuzzes range requests. A served range must lie within the stored body, and a 206 is stored only
//! with its range. The data has four lines: `Range`, `If-Range`, `Content-Range`, and a line of
//! which the length is the length of the body.
#![no_main]

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use larder_core::{RequestHead, Rules, StoredHead, TargetUri, Timestamp, policy::{Exchange, Serve, header_names}};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(4, |byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let mut line = || lines.next().and_then(Result::ok);
    let (range, condition, content_range) = (line(), line(), line());
    let length = data.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) as u64;

    let mut request_fields = HeaderMap::new();
    request_fields.extend(range.map(|value| (header_names::RANGE, value)));
    request_fields.extend(condition.map(|value| (header_names::IF_RANGE, value)));
    let mut fields = HeaderMap::new();
    fields.insert(header_names::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    fields.insert(header_names::ETAG, HeaderValue::from_static("\"a\""));
    let whole = stored(StatusCode::OK, &fields).expect("a storable response");
    let request = RequestHead::new(&Method::GET, &request_fields);

    match whole.serve(&request, Some(length)) {
        Serve::Part(part) => {
            assert!(part.first <= part.last && part.last < length, "{part:?} of {length} bytes");
            assert_eq!(part.complete, Some(length));
        }
        Serve::Parts(parts) => {
            let mut sorted = parts.to_vec();
            sorted.sort_by_key(|part| part.first);
            assert!(sorted.len() > 1 && sorted.windows(2).all(|two| two[0].last + 1 < two[1].first));
            assert!(sorted.iter().all(|part| part.last < length && part.complete == Some(length)));
        }
        Serve::NotSatisfiable { complete } => assert_eq!(complete, length),
        Serve::Whole => {}
        other => panic!("a whole response was served as {other:?}"),
    }

    fields.extend(content_range.map(|value| (header_names::CONTENT_RANGE, value)));
    let Ok(part) = stored(StatusCode::PARTIAL_CONTENT, &fields) else { return };
    let stored = part.part.expect("a stored 206 has its range");
    assert!(stored.first <= stored.last && stored.complete.is_none_or(|complete| stored.last < complete));
    match part.serve(&request, Some(stored.length())) {
        Serve::Part(served) => assert!(stored.covers(&served), "{served:?} of {stored:?}"),
        Serve::Parts(parts) => assert!(parts.iter().all(|served| stored.covers(served)), "{parts:?} of {stored:?}"),
        Serve::Whole => panic!("a partial response was served as a whole one"),
        _ => {}
    }
});

/// Returns the stored head of a response with these headers, if it may be stored.
fn stored(status: StatusCode, fields: &HeaderMap) -> Result<StoredHead, larder_core::NotStorable> {
    let target = TargetUri::parse("https://a.example/").expect("a target");
    let nothing = HeaderMap::new();
    let request = RequestHead::new(&Method::GET, &nothing);
    let exchange = Exchange { request_time: NOW, response_time: NOW };
    Rules::shared().storable(&target, &request, status, fields, exchange)
}
