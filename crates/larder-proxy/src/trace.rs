//! W3C trace context: joins the spans of one request across services
//! (<https://www.w3.org/TR/trace-context/>).
//!
//! A forwarded request continues the trace in the client's `traceparent`, as a child span. Without
//! one it starts a trace.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a forwarded request belongs to, and its span in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    flags: u8,
}

impl Trace {
    /// Continues the trace of a client's request, or starts one, and sets `traceparent` for the
    /// origin.
    pub(crate) fn continue_or_start(headers: &mut HeaderMap) -> Self {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let client_trace = match (lines.next(), lines.next()) {
            (Some(line), None) => parse(line.as_bytes()),
            _ => None,
        };
        if client_trace.is_none() {
            // `tracestate` has no meaning without a valid `traceparent`.
            headers.remove(TRACESTATE);
        }
        let (trace, flags) = client_trace.unwrap_or_else(|| (random_u128(), 0));
        let this = Self { trace, span: random_u64(), flags };
        if let Ok(value) = HeaderValue::from_str(&this.to_string()) {
            headers.insert(TRACEPARENT, value);
        }
        this
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Parses a `traceparent` into the id of the trace and the flags; `None` if it is invalid. A
/// version after 00 may have more members at the end, which are ignored.
pub(crate) fn parse(line: &[u8]) -> Option<(u128, u8)> {
    let text = std::str::from_utf8(line).ok()?;
    let (fixed, rest) = text.split_at_checked(55)?;
    let mut parts = fixed.split('-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let well_formed =
        [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(|(part, length)| {
            part.len() == length
                && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
    let valid_end = rest.is_empty() || version != "00" && rest.starts_with('-');
    if !well_formed || !valid_end || version == "ff" || parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some((trace, u8::from_str_radix(flags, 16).ok()?))
}

/// Returns a random id of a trace. Never 0, which is invalid. The id need not be secret, so a
/// generator without system calls is used.
fn random_u128() -> u128 {
    fastrand::u128(1..)
}

/// Returns a random id of a span; never 0, which is invalid.
fn random_u64() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_traceparents() {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        for (line, expected) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some((trace, 1))),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", Some((trace, 0))),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", Some((trace, 1))),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-010", None),
            ("00", None),
            ("", None),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_trace_is_continued_or_started() {
        let client = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let with = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.extend(lines.iter().map(|line| (TRACEPARENT, HeaderValue::from_static(line))));
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            let trace = Trace::continue_or_start(&mut headers);
            assert_eq!(headers[TRACEPARENT], trace.to_string());
            (trace, headers)
        };
        let (trace, headers) = with(&[client]);
        assert!(
            trace.to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
                && trace.to_string() != client
        );
        assert_eq!(headers[TRACESTATE], "a=b");
        for lines in [&[][..], &["nonsense"], &[client, client]] {
            let (trace, headers) = with(lines);
            assert!(trace.trace != 0 && !headers.contains_key(TRACESTATE), "{lines:?}");
        }
    }
}
