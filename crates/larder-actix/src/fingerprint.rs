//! Names that build tools make of a file's content: another content has another name.

/// Whether a path's last segment has a fingerprint: eight or more letters and digits between a `.`, `-` or `_` and the extension,
/// as in `app.3f9ab1c2.js`, `index-BfKx3a9Q.css` or `logo_5d41402abc4b2a76.svg`.
///
/// A word is none: hexadecimal digits need a digit among them, others a digit and letters in both cases.
pub fn fingerprinted(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let mut parts = file.split(['.', '-', '_']).skip(1).peekable();
    while let Some(part) = parts.next() {
        // The last one is the extension.
        if parts.peek().is_some() && is_fingerprint(part) {
            return true;
        }
    }
    false
}

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
    fn names() {
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
            assert_eq!(fingerprinted(path), expected, "{path}");
        }
    }
}
