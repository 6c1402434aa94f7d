//! Fuzzes purges of other programs. Parsing must not panic, and whatever is read must name what
//! the fields contain: no tag that is in none of them, and no prefix that has lost its host.
#![no_main]

use http::{HeaderMap, HeaderValue, Method};
use larder_core::adapter::{PurgePrefix, PurgeRequest};
use libfuzzer_sys::fuzz_target;

const FIELDS: [&str; 8] = [
    "x-magento-tags-pattern",
    "x-cache-tags",
    "surrogate-key",
    "cache-tags",
    "cache-tag",
    "x-url",
    "x-host",
    "xkey-softpurge",
];

fuzz_target!(|data: &[u8]| {
    let Some((which, value)) = data.split_first() else { return };
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(FIELDS[usize::from(*which) % FIELDS.len()], value.clone());
    let text = String::from_utf8_lossy(value.as_bytes()).replace('\\', "");
    for method in ["PURGE", "BAN", "PURGEKEYS"] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let Ok(purge) = PurgeRequest::parse(&method, "example.com", "/page", &headers) else { continue };
        for tag in purge.tags() {
            assert!(!tag.name().is_empty());
            assert!(text.contains(&tag.name().replace('\\', "")), "{tag:?} is not in the field");
        }
        for prefix in purge.prefixes() {
            assert!(prefix.starts_with("http://") || prefix.starts_with("https://"));
            let _ = PurgePrefix::parse(&prefix);
        }
    }
});
