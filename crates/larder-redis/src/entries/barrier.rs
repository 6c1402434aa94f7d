//! Orders writes and removals: a write that began before a removal is not committed after it.
//!
//! A removal changes a token on the server: the tombstone of a key, the token of a group, or the
//! epoch of the whole cache. A write reads these tokens when it begins ([`WriteBarrier`]) and they
//! are compared when it commits, in `writer` and the script `PUBLISH`; those of groups also by each
//! lookup. The tombstone is set by `removal`, together with the removal of the key's entries.

use std::time::Duration;

use larder_core::{CacheGroup, StoreError};

use crate::{
    entries::{
        keys::Names,
        ttl::{GROUP_TTL, TOMBSTONE_TTL, millis},
    },
    error::gone,
    shared::Shared,
    token::Token,
};

/// Shortest wait, on a Cluster, for writes that checked the epoch before it changed.
const COMMIT_WINDOW: Duration = Duration::from_millis(250);

/// The state at the time of reservation, before the request to the origin. A commit fails if a
/// removal has changed it since.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteBarrier {
    /// The key's tombstone token.
    pub(crate) tombstone: Vec<u8>,
    /// The cache's epoch token.
    pub(crate) epoch: Vec<u8>,
    /// The time by which group removals are ordered, in µs.
    pub(crate) time: u64,
}

impl WriteBarrier {
    /// Reads the state at the beginning of a write: the time of the key's server, which orders
    /// responses, and the tokens that a removal changes.
    pub(crate) async fn read(shared: &Shared, names: &Names) -> Result<(u64, Self), StoreError> {
        let mut script = shared.scripts.begin.prepare_invoke();
        script.key(names.tombstone());
        let ((tombstone, order), (time, epoch)) =
            tokio::try_join!(shared.client.invoke::<(Vec<u8>, u64)>("reservation", &script), clock(shared))?;
        Ok((order, Self { tombstone, epoch, time }))
    }

    /// Returns an error unless the epoch is still the same. On a Cluster, the epoch can be on
    /// another node than the entry, so it is checked just before the entry is committed.
    pub(crate) async fn check_epoch(&self, shared: &Shared) -> Result<(), StoreError> {
        let current: Option<Vec<u8>> =
            shared.client.query("commit", redis::cmd("GET").arg(shared.keys.epoch())).await?;
        if current.unwrap_or_default() == self.epoch {
            return Ok(());
        }
        Err(gone("the entry was removed while it was written"))
    }
}

/// Returns the time in µs by which group removals are ordered, and the epoch's token, which
/// changes when a prefix or everything is removed.
async fn clock(shared: &Shared) -> Result<(u64, Vec<u8>), StoreError> {
    let mut script = shared.scripts.clock.prepare_invoke();
    script.key(shared.keys.epoch()).key(shared.keys.clock());
    shared.client.invoke("reservation", &script).await
}

/// Returns the time of a group removal: later than that of every earlier one.
pub(crate) async fn removal_time(shared: &Shared) -> Result<u64, StoreError> {
    let mut script = shared.scripts.clock.prepare_invoke();
    script.key(shared.keys.epoch()).key(shared.keys.clock()).arg(millis(GROUP_TTL));
    let (time, _): (u64, Vec<u8>) = shared.client.invoke("group removal", &script).await?;
    Ok(time)
}

/// Changes the epoch, so that no write that began earlier is committed, for any key.
pub(crate) async fn begin_epoch(shared: &Shared) -> Result<(), StoreError> {
    let mut command = redis::cmd("SET");
    command.arg(shared.keys.epoch()).arg(Token::new().as_str()).arg("PX").arg(millis(TOMBSTONE_TTL));
    let () = shared.client.query("removal", &command).await?;
    if shared.client.is_cluster() {
        // A writer that checked the epoch before it changed may still be committing. After this
        // wait its entry is visible, so that the scan that follows finds it.
        tokio::time::sleep(COMMIT_WINDOW.max(shared.options.command_timeout * 2)).await;
    }
    Ok(())
}

/// Returns the token of each group, which is the time of its last removal; zero if there was none.
pub(crate) async fn group_tokens(shared: &Shared, groups: &[CacheGroup]) -> Result<Vec<u64>, StoreError> {
    numbers(shared, groups.iter().map(|group| shared.keys.group(group)).collect()).await
}

/// Returns the number under each name; zero where there is none.
pub(crate) async fn numbers(shared: &Shared, names: Vec<String>) -> Result<Vec<u64>, StoreError> {
    let tokens: Vec<Option<Vec<u8>>> = match &*names {
        [] => return Ok(Vec::new()),
        names if shared.client.is_cluster() => {
            // The names have different hash tags, so they can be on different nodes.
            let commands: Vec<_> = names.iter().map(|name| redis::cmd("GET").arg(name).to_owned()).collect();
            let values = commands.iter().map(|command| shared.client.query("group lookup", command));
            futures_util::future::try_join_all(values).await?
        }
        names => shared.client.query("group lookup", redis::cmd("MGET").arg(names)).await?,
    };
    let number = |token: Option<Vec<u8>>| {
        token.and_then(|token| Some(u64::from_le_bytes(*token.first_chunk()?))).unwrap_or(0)
    };
    Ok(tokens.into_iter().map(number).collect())
}
