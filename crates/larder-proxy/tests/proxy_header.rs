//! Headers of the PROXY protocol: each form, every split, and bytes of any kind.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use larder_proxy::ProxyHeader;
use proptest::prelude::*;

/// Returns the source of a complete header, or the reason why it is refused.
fn source(bytes: &[u8]) -> Result<Option<SocketAddr>, String> {
    let header = ProxyHeader::parse(bytes).map_err(|error| error.to_string())?;
    Ok(header.expect("a complete header").source())
}

/// Creates a header of version 2.
fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).expect("a length").to_be_bytes());
    bytes.extend(block);
    bytes
}

/// Creates the addresses of version 2, with the source first.
fn block(source: SocketAddr) -> Vec<u8> {
    let mut block = Vec::new();
    match source {
        SocketAddr::V4(source) => {
            block.extend(source.ip().octets());
            block.extend(Ipv4Addr::LOCALHOST.octets());
        }
        SocketAddr::V6(source) => {
            block.extend(source.ip().octets());
            block.extend(Ipv6Addr::LOCALHOST.octets());
        }
    }
    block.extend(source.port().to_be_bytes());
    block.extend(443u16.to_be_bytes());
    block
}

#[test]
fn lines_of_version_1() {
    let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535";
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443", Some("192.0.2.7:51234")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 65535 0", Some("[2001:db8::7]:65535")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 443", Some("[::ffff:192.0.2.7]:1")),
        ("PROXY UNKNOWN", None),
        (longest, None),
    ] {
        let expected = expected.map(|address| address.parse().expect("an address"));
        assert_eq!(source(format!("{line}\r\nrest").as_bytes()), Ok(expected), "{line}");
    }
}

#[test]
fn lines_that_are_none() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 1",
        "PROXY TCP4 192.0.2.7  198.51.100.1 51234 443",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 ",
        "PROXY TCP4 192.0.2.256 198.51.100.1 51234 443",
        "PROXY TCP4 ::1 ::1 51234 443",
        "PROXY TCP6 192.0.2.7 198.51.100.1 51234 443",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +51234 443",
        "PROXY TCP4 192.0.2.7 198.51.100.1 051234 443",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51234 ",
        "PROXY UNKNOWNS",
        "PROXY UDP4 192.0.2.7 198.51.100.1 51234 443",
        "PROXY tcp4 192.0.2.7 198.51.100.1 51234 443",
        "PROXY ",
        "proxy TCP4 192.0.2.7 198.51.100.1 51234 443",
        "GET / HTTP/1.1",
        " PROXY UNKNOWN",
    ] {
        source(format!("{line}\r\n").as_bytes()).expect_err(line);
    }
    source(b"PROXY UNKNOWN\n").expect_err("a line without a carriage return");
    source(b"PROXY UNKNOWN\xff\r\n").expect_err("not text");
}

#[test]
fn the_length_of_version_1_has_a_limit() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
    assert_eq!(source(&line(107)), Ok(None));
    source(&line(108)).expect_err("108 bytes");
    assert_eq!(ProxyHeader::parse(&line(107)[..106]), Ok(None));
    ProxyHeader::parse(&line(200)[..107]).expect_err("no end within 107 bytes");
}

#[test]
fn forms_of_version_2() {
    let four: SocketAddr = "192.0.2.7:51234".parse().expect("an address");
    let six: SocketAddr = "[2001:db8::7]:1".parse().expect("an address");
    let with_tlvs = |source| [block(source), vec![4, 0, 3, 0, 0, 0, 0xea, 0xff, 0xff]].concat();
    for (name, bytes, expected) in [
        ("IPv4", version_2(0x21, 0x11, &block(four)), Some(four)),
        ("IPv6", version_2(0x21, 0x21, &block(six)), Some(six)),
        ("TLVs, one of them too long", version_2(0x21, 0x11, &with_tlvs(four)), Some(four)),
        ("LOCAL", version_2(0x20, 0x00, b""), None),
        ("LOCAL with addresses, which do not count", version_2(0x20, 0x11, &block(four)), None),
        ("UNSPEC", version_2(0x21, 0x00, b"anything"), None),
        ("UNIX", version_2(0x21, 0x31, &[b'x'; 216]), None),
        ("the longest", version_2(0x21, 0x11, &[&*block(four), &[0; 4068]].concat()), Some(four)),
    ] {
        assert_eq!(source(&[&*bytes, b"rest"].concat()), Ok(expected), "{name}");
    }
}

#[test]
fn forms_that_are_none() {
    let four = block("192.0.2.7:51234".parse().expect("an address"));
    for (name, bytes) in [
        ("version 1 in the binary form", version_2(0x11, 0x11, &four)),
        ("a command without a meaning", version_2(0x22, 0x11, &four)),
        ("a family without a meaning", version_2(0x21, 0x41, &four)),
        ("datagrams", version_2(0x21, 0x12, &four)),
        ("too short for IPv4", version_2(0x21, 0x11, &four[..11])),
        ("too short for IPv6", version_2(0x21, 0x21, &four)),
        ("longer than 4 KiB", version_2(0x21, 0x11, &[&*four, &[0; 4069]].concat())),
    ] {
        source(&bytes).expect_err(name);
    }
    // The length is refused before the rest arrives.
    ProxyHeader::parse(&version_2(0x21, 0x11, &[0; 5000])[..16]).expect_err("longer than 4 KiB");
}

proptest! {
    #[test]
    fn a_header_may_be_split_anywhere(address: std::net::IpAddr, port: u16, tlvs in 0..200usize, rest: Vec<u8>) {
        let client = SocketAddr::new(address, port);
        let (name, family, local) =
            if address.is_ipv4() { ("TCP4", 0x11, "127.0.0.1") } else { ("TCP6", 0x21, "::1") };
        let line = format!("PROXY {name} {address} {local} {port} 443\r\n").into_bytes();
        let binary = version_2(0x21, family, &[block(client), vec![0; tlvs]].concat());
        for bytes in [line, binary] {
            for end in 0..bytes.len() {
                prop_assert_eq!(ProxyHeader::parse(&bytes[..end]), Ok(None), "{} bytes", end);
            }
            let header = ProxyHeader::parse(&[&*bytes, &*rest].concat()).expect("valid").expect("complete");
            prop_assert_eq!((header.source(), header.length()), (Some(client), bytes.len()));
        }
    }

    #[test]
    fn any_bytes_have_one_outcome(start in 0..3usize, bytes: Vec<u8>) {
        let start: &[u8] = [&b""[..], b"PROXY TCP4 1.1.1.1 1", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"][start];
        let bytes = [start, &bytes].concat();
        let whole = ProxyHeader::parse(&bytes);
        if let Ok(Some(header)) = whole {
            prop_assert!(header.length() <= bytes.len() && header.length() <= 4096);
            prop_assert_eq!(ProxyHeader::parse(&bytes[..header.length()]), whole);
            prop_assert_eq!(ProxyHeader::parse(&bytes[..header.length() - 1]), Ok(None));
        }
        if bytes.len() >= 4096 {
            prop_assert_ne!(whole, Ok(None), "no client may make the proxy wait for more");
        }
    }
}
