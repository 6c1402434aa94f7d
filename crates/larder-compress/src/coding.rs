//! Content codings, and which of them a request gets (RFC 9110 §12.5.3).
//!
//! What browsers send in `Accept-Encoding` differs in ways that mean nothing to what they get. Here it comes down to the one
//! coding that is chosen; [`Negotiated`] shows the cache a request that asks for that one alone, so that there are no more
//! variants of a page than there are codings.

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use larder_core::RequestHeaders;

use crate::Compression;

/// A content coding (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coding {
    /// None.
    Identity,
    /// Gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Coding {
    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of that name, in any case.
    fn named(name: &[u8]) -> Option<Self> {
        [
            (&b"identity"[..], Self::Identity),
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"br", Self::Brotli),
            (b"zstd", Self::Zstd),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, coding)| coding)
    }

    /// The coding that a response has; `None` for several, or one that is not known here.
    pub(crate) fn of(response: &HeaderMap) -> Option<Self> {
        let mut lines = response.get_all(CONTENT_ENCODING).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Some(Self::Identity),
            (Some(line), None) => Self::named(line.as_bytes().trim_ascii()),
            _ => None,
        }
    }

    /// Makes a request ask for this coding and no other.
    pub fn ask(self, request: &mut HeaderMap) {
        request.remove(ACCEPT_ENCODING);
        if self != Self::Identity {
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static(self.name()));
        }
    }
}

impl Compression {
    /// The coding for a request with these fields: of those that it accepts, the one that it likes best; of several, the
    /// first in [`codings`](Self::codings). Whoever says nothing gets none.
    pub fn negotiate(&self, request: &impl RequestHeaders) -> Coding {
        let mut accepted = Accepted::default();
        for line in request.lines("accept-encoding") {
            line.split(|byte| *byte == b',').for_each(|member| accepted.add(member.trim_ascii()));
        }
        let mut best = (Coding::Identity, 0);
        for coding in &self.codings {
            let weight = accepted.weight(*coding);
            if weight > best.1 {
                best = (*coding, weight);
            }
        }
        // Not encoded at all is liked better only by those who say so.
        if accepted.identity.is_some_and(|weight| weight > best.1) { Coding::Identity } else { best.0 }
    }
}

/// What a request says of each coding, in thousandths.
#[derive(Debug, Default)]
struct Accepted {
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    zstd: Option<u16>,
    any: u16,
}

impl Accepted {
    fn add(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(quality).unwrap_or(1000);
        if name == b"*" {
            self.any = weight;
        }
        match Coding::named(name) {
            Some(Coding::Identity) => self.identity = Some(weight),
            Some(Coding::Gzip) => self.gzip = Some(weight),
            Some(Coding::Brotli) => self.brotli = Some(weight),
            Some(Coding::Zstd) => self.zstd = Some(weight),
            None => {}
        }
    }

    fn weight(&self, coding: Coding) -> u16 {
        let said = match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        };
        said.unwrap_or(self.any)
    }
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2). What can't be read is not liked at all.
fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at(parameter.iter().position(|byte| *byte == b'=')?);
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let value = value[1..].trim_ascii();
    let (whole, fraction) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return Some(0),
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return Some(0),
    };
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return Some(0);
        }
        thousandths += u16::from(digit - b'0') * unit;
    }
    Some(thousandths.min(1000))
}

/// A request's fields, with `Accept-Encoding` come down to one coding.
#[derive(Debug)]
pub struct Negotiated<'a, F> {
    fields: &'a F,
    coding: Coding,
}

impl<'a, F: RequestHeaders> Negotiated<'a, F> {
    /// These fields, asking for this coding alone.
    pub fn new(fields: &'a F, coding: Coding) -> Self {
        Self { fields, coding }
    }
}

impl<F: RequestHeaders> RequestHeaders for Negotiated<'_, F> {
    fn names(&self, each: impl FnMut(&str)) {
        self.fields.names(each);
    }

    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let ours = name == "accept-encoding";
        let own = (ours && self.coding != Coding::Identity).then(|| self.coding.name().as_bytes());
        let theirs = (!ours).then(|| self.fields.lines(name));
        own.into_iter().chain(theirs.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accepts: &str) -> &'static str {
        let mut fields = HeaderMap::new();
        for line in accepts.split('\n') {
            fields.append(ACCEPT_ENCODING, HeaderValue::from_str(line).expect("a value"));
        }
        Compression::default().negotiate(&fields).name()
    }

    /// RFC 9110 §12.5.3, and what browsers and programs send.
    #[test]
    fn what_a_request_gets() {
        for (accepts, expected) in [
            ("gzip, deflate, br, zstd", "br"),
            ("gzip, deflate, br", "br"),
            ("gzip, deflate", "gzip"),
            ("gzip\nzstd", "zstd"),
            ("GZIP;Q=1.0", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("br;q=0, gzip;q=0.001", "gzip"),
            ("*", "br"),
            ("*;q=0.5, br;q=0", "zstd"),
            ("gzip;q=0.5, identity", "identity"),
            ("identity;q=0.5, gzip", "gzip"),
            ("gzip;q=0", "identity"),
            ("deflate, compress", "identity"),
            ("gzip;q=2", "identity"),
            ("gzip;q=0.1234", "identity"),
            ("gzip;level=3;q=0.2", "gzip"),
            ("", "identity"),
            (",,;q=1,", "identity"),
        ] {
            assert_eq!(chosen(accepts), expected, "{accepts}");
        }
        assert_eq!(Compression::default().negotiate(&HeaderMap::new()), Coding::Identity);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_sent_means_something(line in proptest::collection::vec(0_u8.., 0..64)) {
            let mut fields = HeaderMap::new();
            fields.extend(HeaderValue::from_bytes(&line).ok().map(|line| (ACCEPT_ENCODING, line)));
            let coding = Compression::default().negotiate(&fields);
            let again = Negotiated::new(&fields, coding);
            proptest::prop_assert_eq!(Compression::default().negotiate(&again), coding);
        }
    }
}
