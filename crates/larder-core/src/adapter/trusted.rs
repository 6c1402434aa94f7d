//! Defines the set of proxies of which the forwarded fields are trusted.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// The addresses and networks of the proxies in front of this one, of which `Forwarded` and
/// `X-Forwarded-*` are trusted. Empty by default; cloning is cheap.
///
/// ```
/// use larder_core::adapter::TrustedProxies;
///
/// let proxies: TrustedProxies = "10.0.0.0/8, 2001:db8::/32, 192.0.2.7".parse()?;
/// assert!(proxies.contains("10.1.2.3".parse()?));
/// assert!(proxies.contains("::ffff:10.1.2.3".parse()?), "an IPv4 client of an IPv6 listener");
/// assert!(!proxies.contains("192.0.2.8".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    fields: ForwardedFields,
}

/// Which fields of a trusted proxy state the target of a request.
///
/// A proxy usually writes one kind of them, and passes the other on as its client has sent it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedFields {
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`, if the request has one of these or
    /// `X-Forwarded-For`, and `Forwarded` otherwise. Choose [`Forwarded`](Self::Forwarded) for
    /// proxies that write only that: their clients could send the other kind.
    #[default]
    PreferXForwarded,
    /// `X-Forwarded-Proto` and `X-Forwarded-Host` only.
    XForwarded,
    /// `Forwarded` (RFC 7239) only.
    Forwarded,
    /// Both kinds. A request is rejected if they name different targets.
    Agreeing,
}

/// The addresses that have the first `length` bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// As 128 bits; IPv4 addresses are mapped to IPv6.
    bits: u128,
    length: u8,
}

/// The error of a text that names no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidNetwork(Box<str>);

impl TrustedProxies {
    /// Returns the networks that are not reached from the internet: loopback, private (RFC 1918,
    /// RFC 4193) and link-local addresses, and those between carriers and their customers
    /// (RFC 6598).
    pub fn private_networks() -> Self {
        const PRIVATE: &str = "127.0.0.0/8, ::1, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, \
                               100.64.0.0/10, fc00::/7, fe80::/10";
        PRIVATE.parse().unwrap_or_default()
    }

    /// Sets which fields of these proxies state the target of a request. Default:
    /// [`ForwardedFields::PreferXForwarded`].
    ///
    /// ```
    /// use larder_core::adapter::{ForwardedFields, TrustedProxies};
    ///
    /// let proxies: TrustedProxies = "10.0.0.0/8".parse()?;
    /// let proxies = proxies.with_fields(ForwardedFields::Forwarded);
    /// assert_eq!(proxies.fields(), ForwardedFields::Forwarded);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_fields(mut self, fields: ForwardedFields) -> Self {
        self.fields = fields;
        self
    }

    /// Returns which fields of these proxies state the target of a request.
    pub fn fields(&self) -> ForwardedFields {
        self.fields
    }

    /// Returns whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Returns whether the proxy at `address` is trusted.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = mapped(address);
        self.networks.iter().any(|network| network.bits == prefix(bits, network.length))
    }

    /// Adds the networks of `other`. The [fields](Self::with_fields) stay.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let networks = self.networks.iter().chain(&*other.networks).copied().collect();
        Self { networks, ..self }
    }
}

/// Reads addresses and networks in CIDR notation, separated by commas.
impl FromStr for TrustedProxies {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let each = text.split(',').map(str::trim).filter(|network| !network.is_empty());
        each.map(|network| parse(network).ok_or_else(|| InvalidNetwork(network.into())))
            .collect::<Result<_, _>>()
            .map(|networks| Self { networks, fields: ForwardedFields::default() })
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address or network, such as 192.0.2.7 or 10.0.0.0/8", self.0)
    }
}

impl std::error::Error for InvalidNetwork {}

/// Parses an address, or a network in CIDR notation.
fn parse(text: &str) -> Option<Network> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (before, bits) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
    let length = before + length.unwrap_or(bits);
    (length <= before + bits).then(|| Network { bits: prefix(mapped(address), length), length })
}

/// Returns an address as 128 bits, IPv4 mapped to IPv6.
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns the first `length` bits, followed by zeros.
fn prefix(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses_only() {
        for (networks, address, expected) in [
            ("", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.0/8", "127.255.255.255", true),
            ("10.0.0.0/9", "10.128.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "203.0.113.9", true),
            ("::1, 10.0.0.0/8", "10.9.9.9", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.77", true),
        ] {
            let proxies: TrustedProxies = networks.parse().expect("networks");
            assert_eq!(
                proxies.contains(address.parse().expect("an address")),
                expected,
                "{address} in {networks}"
            );
        }
        let private = TrustedProxies::private_networks();
        assert!(
            ["127.0.0.1", "::1", "172.31.9.9", "fd00::1"]
                .iter()
                .all(|one| private.contains(one.parse().expect("an address")))
        );
        assert!(
            ["172.32.0.1", "8.8.8.8", "2001:db8::1"]
                .iter()
                .all(|one| !private.contains(one.parse().expect("an address")))
        );
        for invalid in ["10.0.0.0/33", "::/129", "example.com", "10.0.0", "10.0.0.1/", "1.2.3.4/-1"] {
            assert!(invalid.parse::<TrustedProxies>().is_err(), "{invalid}");
        }
    }
}
