//! Writes to standard output and standard error. A reader that has gone away, or a full disk, is an
//! error and not a panic.

use std::{error::Error, fmt, io, io::Write as _};

/// Standard output could not be written.
///
/// If its reader has closed the pipe, the command ends quietly: see [`is_closed_pipe`].
#[derive(Debug)]
pub(crate) struct OutputError(io::Error);

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("can't write standard output")
    }
}

impl Error for OutputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Prints a line to standard output. It has the arguments of `println!`, and returns a `Result`.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::console::print_line(format_args!($($text)*))
    };
}

/// Prints a line to standard error, if that is possible. It has the arguments of `eprintln!`.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::console::note_line(format_args!($($text)*))
    };
}

pub(crate) use {note, out};

/// Prints a line to standard output.
pub(crate) fn print_line(text: fmt::Arguments<'_>) -> Result<(), OutputError> {
    writeln!(io::stdout().lock(), "{text}").map_err(OutputError)
}

/// Prints a line to standard error. There is nowhere to report that it cannot be written.
pub(crate) fn note_line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes bytes to standard output.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    io::stdout().lock().write_all(bytes).map_err(OutputError)
}

/// Writes what standard output has buffered.
pub(crate) fn flush() -> Result<(), OutputError> {
    io::stdout().lock().flush().map_err(OutputError)
}

/// Returns whether a command failed because the reader of its standard output has closed the pipe.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let output = error.downcast_ref::<OutputError>();
    output.is_some_and(|OutputError(error)| error.kind() == io::ErrorKind::BrokenPipe)
}
