//! Tests that any bytes from a peer lead to a decision and that no input panics.

mod table;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use larder_policy::{RequestHead, Rules, format_http_date, header_names, parse_http_date};
use proptest::prelude::*;
use table::{NOW, at, exchange_at, target};

proptest! {
    #[test]
    fn any_fields_lead_to_a_decision(
        cache_control in "[ -~]{0,60}", targeted in "[ -~]{0,60}", expires in "[ -~]{0,40}", age in "[ -~]{0,20}",
        vary in "[ -~]{0,30}", request_directives in "[ -~]{0,60}", range in "[ -~]{0,30}", groups in "[ -~]{0,40}", status in 100_u16..1000,
    ) {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            (header_names::CACHE_CONTROL, &cache_control), (header_names::CDN_CACHE_CONTROL, &targeted), (header_names::EXPIRES, &expires),
            (header_names::AGE, &age), (header_names::VARY, &vary), (header_names::CACHE_GROUPS, &groups), (header_names::CONTENT_RANGE, &range),
        ] {
            fields.insert(name, HeaderValue::from_str(value).expect("visible ASCII"));
        }
        let mut request = HeaderMap::new();
        request.insert(header_names::CACHE_CONTROL, HeaderValue::from_str(&request_directives).expect("visible ASCII"));
        request.insert(header_names::RANGE, HeaderValue::from_str(&range).expect("visible ASCII"));
        request.insert(header_names::IF_NONE_MATCH, HeaderValue::from_str(&request_directives).expect("visible ASCII"));
        let request = RequestHead::new(&Method::GET, &request);
        let status = StatusCode::from_u16(status).expect("in range");
        for rules in [Rules::shared(), Rules::private()] {
            if let Ok(head) = rules.storable(&target(), &request, status, &fields, exchange_at(NOW)) {
                let _ = rules.reuse(&request, [&head], at(NOW + 5));
                let _ = head.serve(&request, Some(10));
            }
        }
    }

    #[test]
    fn formatted_dates_parse_to_the_same_time(secs in 0_u64..4_000_000_000) {
        prop_assert_eq!(parse_http_date(format_http_date(at(secs)).as_bytes(), at(NOW)), Some(at(secs)));
    }

    #[test]
    fn parsing_any_bytes_as_a_date_does_not_panic(bytes in any::<Vec<u8>>()) {
        let _ = parse_http_date(&bytes, at(NOW));
    }
}
