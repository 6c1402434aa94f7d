//! Ranges: what is served lies within what is stored, and a part is stored only as the part it is. Four lines: the
//! request's range, its precondition, the response's range, and the body's length by its own length.
#![no_main]

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use larder_core::{Exchange, RequestHead, Rules, Serve, StoredHead, TargetUri, Timestamp, header_names};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(4, |byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let mut line = || lines.next().and_then(Result::ok);
    let (range, condition, content_range) = (line(), line(), line());
    let length = data.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) as u64;

    let mut asked = HeaderMap::new();
    asked.extend(range.map(|value| (header_names::RANGE, value)));
    asked.extend(condition.map(|value| (header_names::IF_RANGE, value)));
    let mut fields = HeaderMap::new();
    fields.insert(header_names::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    fields.insert(header_names::ETAG, HeaderValue::from_static("\"a\""));
    let whole = stored(StatusCode::OK, &fields).expect("nothing is against storing it");
    let request = RequestHead::new(&Method::GET, &asked);

    match whole.serve(&request, Some(length)) {
        Serve::Part(part) => {
            assert!(part.first <= part.last && part.last < length, "{part:?} of {length} bytes");
            assert_eq!(part.complete, Some(length));
        }
        Serve::NotSatisfiable { complete } => assert_eq!(complete, length),
        Serve::Whole => {}
        other => panic!("a whole response answered with {other:?}"),
    }

    fields.extend(content_range.map(|value| (header_names::CONTENT_RANGE, value)));
    let Ok(part) = stored(StatusCode::PARTIAL_CONTENT, &fields) else { return };
    let stored = part.part.expect("a 206 is stored with its range, or not at all");
    assert!(stored.first <= stored.last && stored.complete.is_none_or(|complete| stored.last < complete));
    match part.serve(&request, Some(stored.length())) {
        Serve::Part(served) => assert!(stored.covers(&served), "{served:?} of {stored:?}"),
        Serve::Whole => panic!("a part was served as the whole"),
        _ => {}
    }
});

fn stored(status: StatusCode, fields: &HeaderMap) -> Result<StoredHead, larder_core::NotStorable> {
    let target = TargetUri::parse("https://a.example/").expect("a target");
    let nothing = HeaderMap::new();
    let request = RequestHead::new(&Method::GET, &nothing);
    let exchange = Exchange { request_time: NOW, response_time: NOW };
    Rules::shared().storable(&target, &request, status, fields, exchange)
}
