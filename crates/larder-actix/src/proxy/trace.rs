//! W3C trace context: what joins the spans of one request across services (<https://www.w3.org/TR/trace-context/>).
//!
//! A request that comes with a `traceparent` goes on as its child; one without begins a trace of its own.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a forwarded request belongs to, and its own place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    flags: u8,
}

impl Trace {
    /// Goes on with the trace that a request came with, or begins one; the request's fields say so to the origin.
    pub(super) fn continue_or_start(fields: &mut HeaderMap) -> Self {
        let mut lines = fields.get_all(TRACEPARENT).iter();
        let came_with = match (lines.next(), lines.next()) {
            (Some(line), None) => parse(line.as_bytes()),
            _ => None,
        };
        if came_with.is_none() {
            // A state without its trace means nothing.
            fields.remove(TRACESTATE);
        }
        let (trace, flags) = came_with.unwrap_or_else(|| (random_u128(), 0));
        let this = Self { trace, span: random_u64(), flags };
        if let Ok(value) = HeaderValue::from_str(&this.to_string()) {
            fields.insert(TRACEPARENT, value);
        }
        this
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Trace and flags of a `traceparent`. Later versions may say more behind it.
pub(crate) fn parse(line: &[u8]) -> Option<(u128, u8)> {
    let text = std::str::from_utf8(line).ok()?;
    let (fixed, rest) = text.split_at_checked(55)?;
    let mut parts = fixed.split('-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let shaped = [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(|(part, length)| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    });
    let ends = rest.is_empty() || version != "00" && rest.starts_with('-');
    if !shaped || !ends || version == "ff" || parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some((trace, u8::from_str_radix(flags, 16).ok()?))
}

/// Never zero, which is no id. Not secret: it tells requests apart, and costs no system call.
fn random_u128() -> u128 {
    fastrand::u128(1..)
}

fn random_u64() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_traceparent_may_be() {
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
    fn a_trace_goes_on_or_begins() {
        let came = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let with = |lines: &[&'static str]| {
            let mut fields = HeaderMap::new();
            fields.extend(lines.iter().map(|line| (TRACEPARENT, HeaderValue::from_static(line))));
            fields.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            let trace = Trace::continue_or_start(&mut fields);
            assert_eq!(fields[TRACEPARENT], trace.to_string());
            (trace, fields)
        };
        let (trace, fields) = with(&[came]);
        assert!(
            trace.to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
                && trace.to_string() != came
        );
        assert_eq!(fields[TRACESTATE], "a=b");
        for lines in [&[][..], &["nonsense"], &[came, came]] {
            let (trace, fields) = with(lines);
            assert!(trace.trace != 0 && !fields.contains_key(TRACESTATE), "{lines:?}");
        }
    }
}
