//! Raises the limit of open files: each connection of a client or to an origin is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sets the soft limit of open files to the hard limit. Many systems start programs with a soft
/// limit of 1,024, for the sake of old programs that use `select`.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, ?current, "can't raise the limit of open files");
    }
}
