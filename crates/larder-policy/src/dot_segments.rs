//! Removes the dot segments of a path (RFC 3986 §5.2.4).

/// Returns the number of dots if a segment is `.` or `..`. `%2e` counts as a dot: it was encoded
/// unnecessarily (RFC 3986 §6.2.2.2), and origins treat it as one.
fn dot_segment_length(segment: &str) -> Option<usize> {
    match segment.len() {
        1 | 2 => segment.bytes().all(|byte| byte == b'.').then_some(segment.len()),
        3 | 4 | 6 => {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            matches!(&*plain, "." | "..").then_some(plain.len())
        }
        _ => None,
    }
}

/// Returns whether a path contains a `.` or `..` segment.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let may_start_dots = |two: &[u8]| matches!(two, b"/." | b"/%");
    path.as_bytes().windows(2).any(may_start_dots)
        && path.split('/').any(|segment| dot_segment_length(segment).is_some())
}

/// Removes dot segments (RFC 3986 §5.2.4).
pub(crate) fn without_dot_segments(path: &str) -> String {
    let mut result: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let dots = dot_segment_length(segment);
        if dots == Some(2) {
            result.pop();
        } else if dots.is_none() {
            result.push(segment);
        }
        if dots.is_some() && segments.peek().is_none() {
            // A trailing dot segment names a directory, and its path ends with a slash.
            result.push("");
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in result {
        normal.push('/');
        normal.push_str(segment);
    }
    normal
}
