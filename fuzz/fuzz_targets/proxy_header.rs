//! Fuzzes headers of the PROXY protocol. Whether a header is complete must not depend on what
//! follows it, and no bytes may make the proxy wait for more than 4 KiB.
#![no_main]

use larder_proxy::ProxyHeader;
use libfuzzer_sys::fuzz_target;

const MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    match ProxyHeader::parse(data) {
        Ok(Some(header)) => {
            let length = header.length();
            assert!((13..=data.len().min(MAX)).contains(&length), "{length} of {} bytes", data.len());
            assert_eq!(ProxyHeader::parse(&data[..length]), Ok(Some(header)));
            assert_eq!(ProxyHeader::parse(&data[..length - 1]), Ok(None));
        }
        Ok(None) => {
            assert!(data.len() < MAX, "{} bytes, and not decided", data.len());
            assert!(data.is_empty() || ProxyHeader::parse(&data[..data.len() - 1]) == Ok(None));
        }
        Err(_) => {
            let longer = [data, b"\r\n"].concat();
            assert!(ProxyHeader::parse(&longer).is_err(), "more bytes cannot repair it");
        }
    }
});
