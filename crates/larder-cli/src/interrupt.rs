//! Ctrl-C: ends the work of a command, and then the process by the signal, so that a shell stops
//! the loop in which the command runs.

use std::process::ExitCode;

/// Runs `work` to its end, or until Ctrl-C. Returns `None` if it was interrupted.
pub(crate) async fn until_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    }
}

/// Ends the process by SIGINT, as if the command had not handled it. A shell reports the status
/// 130.
pub(crate) fn end_by_interrupt() -> ExitCode {
    // It returns only if the signal could not be sent.
    let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
    ExitCode::from(130)
}
