//! Parses the header with which a proxy in front reports the address of its client: the PROXY
//! protocol of HAProxy, versions 1 and 2.
//!
//! Who may send one, and how it is read from a connection, is in `preamble`.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Longest header of version 1, in bytes, with its line end.
const MAX_V1: usize = 107;

/// Longest header of version 2 that is accepted, in bytes. The format allows 65,551.
const MAX_V2: usize = 4096;

/// The beginning of version 1.
const PREFIX: &[u8] = b"PROXY ";

/// The beginning of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// The TLV that describes the client's TLS, and the bit in its first byte for a client that uses
/// it.
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// A header of the PROXY protocol, version 1 or 2.
///
/// ```
/// use larder_proxy::ProxyHeader;
///
/// let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET / HTTP/1.1\r\n";
/// let header = ProxyHeader::parse(bytes)?.expect("a complete header");
/// assert_eq!(header.source(), Some("192.0.2.7:51234".parse()?));
/// assert_eq!(&bytes[header.length()..], b"GET / HTTP/1.1\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    source: Option<SocketAddr>,
    is_tls: bool,
    length: usize,
}

impl ProxyHeader {
    /// Parses the header at the beginning of what a connection has received. Returns `None` if
    /// these bytes are only the beginning of one. Nothing is copied.
    ///
    /// Of the TLVs of version 2, only `PP2_TYPE_SSL` is read.
    ///
    /// # Errors
    ///
    /// Returns an [`InvalidProxyHeader`] if no header can begin with these bytes, or if it is
    /// longer than 107 bytes of version 1 or 4 KiB of version 2.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, InvalidProxyHeader> {
        if is_beginning(bytes, PREFIX) {
            version_1(bytes)
        } else if is_beginning(bytes, SIGNATURE) {
            version_2(bytes)
        } else {
            Err(InvalidProxyHeader("it does not begin with a header of the PROXY protocol"))
        }
    }

    /// Returns the address of the client. `None` if the proxy reports none: the connection is its
    /// own (`LOCAL`), or of an unknown or local kind.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Returns whether the proxy reports that its client uses TLS, which version 1 cannot.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the length of the header in bytes.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// The error of bytes that are no header of the PROXY protocol. Its message states the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InvalidProxyHeader(&'static str);

impl fmt::Display for InvalidProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for InvalidProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InvalidProxyHeader {}

const MALFORMED_1: InvalidProxyHeader =
    InvalidProxyHeader("its header of version 1 of the PROXY protocol is malformed");
const TOO_LONG_1: InvalidProxyHeader =
    InvalidProxyHeader("its header of version 1 of the PROXY protocol is longer than 107 bytes");
const MALFORMED_2: InvalidProxyHeader =
    InvalidProxyHeader("its header of version 2 of the PROXY protocol is malformed");
const TOO_LONG_2: InvalidProxyHeader =
    InvalidProxyHeader("its header of version 2 of the PROXY protocol is longer than 4 KiB");
const NOT_STREAM: InvalidProxyHeader = InvalidProxyHeader("its header of the PROXY protocol is of datagrams");

/// Returns whether `bytes` begins with `expected`, or may once more of it has arrived.
fn is_beginning(bytes: &[u8], expected: &[u8]) -> bool {
    let length = bytes.len().min(expected.len());
    bytes[..length] == expected[..length]
}

/// Parses a line such as `PROXY TCP4 192.0.2.7 198.51.100.1 51234 443`.
fn version_1(bytes: &[u8]) -> Result<Option<ProxyHeader>, InvalidProxyHeader> {
    let Some(end) = bytes.iter().take(MAX_V1).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_V1 { Ok(None) } else { Err(TOO_LONG_1) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(MALFORMED_1)?;
    let line =
        line.strip_prefix(PREFIX).and_then(|line| std::str::from_utf8(line).ok()).ok_or(MALFORMED_1)?;
    let mut fields = line.split(' ');
    let source = match fields.next() {
        // What follows is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(addresses::<Ipv4Addr>(&mut fields).ok_or(MALFORMED_1)?),
        Some("TCP6") => Some(addresses::<Ipv6Addr>(&mut fields).ok_or(MALFORMED_1)?),
        _ => return Err(MALFORMED_1),
    };
    Ok(Some(ProxyHeader { source, is_tls: false, length: end + 1 }))
}

/// Parses two addresses and two ports. Returns the first of each.
fn addresses<A: FromStr + Into<IpAddr>>(fields: &mut std::str::Split<'_, char>) -> Option<SocketAddr> {
    let source: A = fields.next()?.parse().ok()?;
    fields.next()?.parse::<A>().ok()?;
    let source_port = port(fields.next()?)?;
    port(fields.next()?)?;
    fields.next().is_none().then(|| SocketAddr::new(source.into(), source_port))
}

/// Parses a port in decimal digits, without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number)
}

/// Parses the binary form.
fn version_2(bytes: &[u8]) -> Result<Option<ProxyHeader>, InvalidProxyHeader> {
    let Some((head, rest)) = bytes.split_at_checked(FIXED) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if FIXED + length > MAX_V2 {
        return Err(TOO_LONG_2);
    }
    let is_local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(MALFORMED_2),
    };
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let (source, addresses) = match head[13] {
        _ if is_local => (None, length),
        0x11 => (Some(binary::<4>(block).ok_or(MALFORMED_2)?), 12),
        0x21 => (Some(binary::<16>(block).ok_or(MALFORMED_2)?), 36),
        // Of an unknown kind, or of a socket of the proxy's system.
        0x00 => (None, 0),
        0x31 => (None, 216),
        0x12 | 0x22 | 0x32 => return Err(NOT_STREAM),
        _ => return Err(MALFORMED_2),
    };
    let is_tls = block.get(addresses..).is_some_and(reports_tls);
    Ok(Some(ProxyHeader { source, is_tls, length: FIXED + length }))
}

/// Returns whether one of these TLVs reports that the client uses TLS. What is not a TLV ends them.
fn reports_tls(mut tlvs: &[u8]) -> bool {
    while let [kind, high, low, rest @ ..] = tlvs {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else { return false };
        if *kind == TYPE_SSL && value.first().is_some_and(|client| client & CLIENT_SSL != 0) {
            return true;
        }
        tlvs = rest;
    }
    false
}

/// Reads the first of two addresses of `N` bytes, and the first of the two ports behind them.
fn binary<const N: usize>(block: &[u8]) -> Option<SocketAddr>
where
    [u8; N]: Into<IpAddr>,
{
    let address: &[u8; N] = block.first_chunk()?;
    let ports = block.get(2 * N..2 * N + 4)?;
    Some(SocketAddr::new((*address).into(), u16::from_be_bytes([ports[0], ports[1]])))
}
