//! Divides the limit of open files: each connection is an open file, and so are connections to
//! origins and the files of a store.

use super::options::ServerOptions;

/// Smallest reserve by default, unless that is more than half of the limit.
const MIN_RESERVE: usize = 256;

/// Returns the number of connections that each worker may have, and logs it.
pub(super) fn connections_per_worker(options: &ServerOptions) -> usize {
    let workers = options.worker_count();
    let Some(limit) = limit() else { return options.max_connections.max(1) };
    let reserve = reserve(options, limit);
    let each = share(options, limit);
    let all = each.saturating_mul(workers);
    if each < options.max_connections.min(1000) {
        tracing::warn!(
            connections = all,
            workers,
            open_files = limit,
            reserved = reserve,
            "the limit of open files allows few connections of clients: raise it (ulimit -n, LimitNOFILE)"
        );
    } else {
        tracing::info!(
            connections = all,
            workers,
            open_files = limit,
            reserved = reserve,
            "accepting up to this many connections of clients"
        );
    }
    each
}

/// Returns the number of open files that are not for clients.
fn reserve(options: &ServerOptions, limit: usize) -> usize {
    options.reserved_files.unwrap_or_else(|| (limit / 4).max(MIN_RESERVE).min(limit / 2))
}

/// Returns the number of connections that each worker may have under a limit of open files.
fn share(options: &ServerOptions, limit: usize) -> usize {
    let left = limit.saturating_sub(reserve(options, limit));
    (left / options.worker_count()).min(options.max_connections).max(1)
}

/// Returns the limit of open files of this process; `None` if there is none.
fn limit() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_what_is_not_reserved() {
        let options = ServerOptions::default().with_workers(2);
        for (limit, expected) in [(1_048_576, 25_000), (20_000, 7500), (1024, 384), (256, 64), (2, 1), (0, 1)]
        {
            assert_eq!(share(&options, limit), expected, "{limit} open files");
        }
        assert_eq!(share(&options.clone().with_reserved_files(1000), 20_000), 9500);
        assert_eq!(share(&options.clone().with_reserved_files(30_000), 20_000), 1);
        assert_eq!(share(&options.with_max_connections(100), 20_000), 100);
    }
}
