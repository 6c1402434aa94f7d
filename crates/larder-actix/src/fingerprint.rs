//! Recognizes file names that contain a fingerprint of the file's content.
//!
//! Build tools create such names: a file with other content has another name.

/// Returns whether the last segment of a path contains a fingerprint, as in `app.3f9ab1c2.js`.
///
/// A fingerprint follows a `.`, `-` or `_`, stands before the extension, and has at least eight
/// ASCII letters and digits. To exclude words and dates it is either lower-case hexadecimal with
/// both a letter and a digit, or has a digit and letters in both cases.
///
/// ```
/// use larder_actix::is_fingerprinted;
///
/// assert!(is_fingerprinted("/assets/app.3f9ab1c2.js"));
/// assert!(is_fingerprinted("/assets/index-BfKx3a9Q.css"));
/// assert!(is_fingerprinted("/logo_5d41402abc4b2a76.svg"));
/// assert!(!is_fingerprinted("/app.js"));
/// assert!(!is_fingerprinted("/report-20261121.pdf"));
/// ```
pub fn is_fingerprinted(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let mut parts = file.split(['.', '-', '_']).skip(1).peekable();
    while let Some(part) = parts.next() {
        // The last part is the extension.
        if parts.peek().is_some() && is_fingerprint(part) {
            return true;
        }
    }
    false
}

/// Returns whether a part of a file name is a fingerprint.
fn is_fingerprint(part: &str) -> bool {
    let bytes = part.as_bytes();
    let any = |is: fn(&u8) -> bool| bytes.iter().any(is);
    let hexadecimal = bytes.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let mixed = any(u8::is_ascii_lowercase) && any(u8::is_ascii_uppercase);
    bytes.len() >= 8
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && any(u8::is_ascii_digit)
        && (hexadecimal && any(u8::is_ascii_lowercase) || mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_in_file_names() {
        for (path, expected) in [
            ("/assets/app.3f9ab1c2.js", true),
            ("/assets/index-BfKx3a9Q.css", true),
            ("/logo_5d41402abc4b2a76.svg", true),
            ("/app.3f9ab1c2.min.js", true),
            ("/3f9ab1c2.js", false),
            ("/app.js", false),
            ("/report-20261121.pdf", false),
            ("/hello-beautiful.css", false),
            ("/a.deadbeef/app.js", false),
            ("/jquery-3.7.1.min.js", false),
            ("/app-3f9ab1c2", false),
            ("/", false),
        ] {
            assert_eq!(is_fingerprinted(path), expected, "{path}");
        }
    }
}
