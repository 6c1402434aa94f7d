//! Formats an error with its causes, for the `Debug` of the error types of all crates: that is what
//! `fn main() -> Result<(), E>` and `expect` print.

use std::{error::Error, fmt, iter::successors};

/// Writes an error and its causes in one line: `could not connect to the origin: connection
/// refused`.
///
/// A cause that is part of the text already is not repeated.
#[doc(hidden)]
pub fn debug_as_chain(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = error.to_string();
    let causes = successors(error.source(), |cause| (**cause).source()).map(ToString::to_string);
    let causes: Vec<String> = causes.collect();
    // Some errors end with their innermost cause; the causes in between add nothing then.
    if !causes.last().is_some_and(|innermost| text.contains(innermost)) {
        for cause in causes {
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
    }
    f.write_str(&text)
}
