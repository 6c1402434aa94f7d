//! W3C trace context: reads the trace that a request belongs to, for the log
//! (<https://www.w3.org/TR/trace-context/>).
//!
//! `traceparent` and `tracestate` are forwarded as they are. A proxy that records no span must not
//! name one of its own as the parent of the origin's: the trace would have a gap.

use http::HeaderMap;

/// Returns the id of the trace in `traceparent`; `None` without a valid one.
pub(crate) fn trace_of(headers: &HeaderMap) -> Option<u128> {
    let mut lines = headers.get_all("traceparent").iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => parse(line.as_bytes()),
        _ => None,
    }
}

/// Parses a `traceparent` into the id of the trace; `None` if it is invalid. A
/// version after 00 may have more members at the end, which are ignored.
fn parse(line: &[u8]) -> Option<u128> {
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
    u8::from_str_radix(flags, 16).ok()?;
    Some(trace)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn valid_and_invalid_traceparents() {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        for (line, expected) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(trace)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", Some(trace)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", Some(trace)),
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
    fn two_lines_are_no_trace() {
        let line = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(trace_of(&headers), None);
        headers.append("traceparent", line.clone());
        assert_eq!(trace_of(&headers), Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        headers.append("traceparent", line);
        assert_eq!(trace_of(&headers), None);
    }
}
