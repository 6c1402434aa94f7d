//! Orders writes and removals: a write that began before a removal is not committed after it.
//!
//! A write reads tokens when it begins ([`WriteBarrier`]): the epoch, the key's token and the
//! barrier. A removal removes or changes one of them, and the script `PUBLISH` compares them; a
//! token that is missing then refuses the write, too. Groups, which are known only when the
//! response arrives, are ordered by a counter of their removals, in `groups`.

use std::time::Duration;

use larder_core::StoreError;

use crate::{
    client::connection::Connection,
    entries::{
        keys::Names,
        tokens::{Removals, Ticket, number_of, removals_of, token_of},
        ttl::{EPOCH_TTL, TOKEN_TTL, millis},
    },
    error::{gone, unavailable},
    shared::Shared,
    token::{Nonce, nonce},
};

/// Shortest wait, on a Cluster, for writes that checked the barrier before it changed.
const COMMIT_WINDOW: Duration = Duration::from_millis(250);

/// The state at the time of a reservation, before the request to the origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteBarrier {
    /// The epoch.
    pub(crate) epoch: Nonce,
    /// The key's token.
    pub(crate) token: Nonce,
    /// Number of the reservation among those with this token.
    pub(crate) order: u64,
    pub(crate) removals: Removals,
}

impl WriteBarrier {
    /// Reads the state at the beginning of a write, and creates the tokens that are missing.
    pub(crate) async fn read(shared: &Shared, names: &Names) -> Result<Self, StoreError> {
        let is_cluster = shared.client.is_cluster();
        let mut script = shared.scripts.reserve.prepare_invoke();
        script.key(names.token()).key(shared.keys.epoch(names)).key(&names.entry);
        if !is_cluster {
            script.key(shared.keys.barrier());
        }
        script.arg(&nonce()[..]).arg(millis(TOKEN_TTL)).arg(millis(EPOCH_TTL)).arg(i32::from(is_cluster));
        let reserving = shared.client.run("reservation", async |connection: &mut Connection| {
            let values: [Vec<u8>; 5] = script.invoke_async(connection).await?;
            let epoch = connection.epoch(&values[0])?;
            Ok((epoch, values))
        });
        let ((epoch, [_, token, order, barrier, groups]), other_node) = if is_cluster {
            let (reserved, removals) = tokio::try_join!(reserving, removals(shared))?;
            (reserved, Some(removals))
        } else {
            (reserving.await?, None)
        };
        let parsed = || {
            let removals = match other_node {
                Some(removals) => removals,
                None => Removals { token: token_of(&barrier)?, groups: number_of(&groups)? },
            };
            Some(Self { epoch: epoch?, token: token_of(&token)?, order: number_of(&order)?, removals })
        };
        parsed().ok_or_else(|| unavailable("reservation: the server can't store a token"))
    }

    /// Returns an error unless the barrier is still the same. On a Cluster it can be on another
    /// node than the entry, so it is checked just before the entry is committed.
    pub(crate) async fn check(&self, shared: &Shared) -> Result<(), StoreError> {
        let mut command = redis::cmd("HGET");
        let current: Option<Vec<u8>> =
            shared.client.query("commit", command.arg(shared.keys.barrier()).arg("i")).await?;
        if current.as_deref() == Some(&self.removals.token[..]) {
            return Ok(());
        }
        Err(gone("the entry was removed while it was written"))
    }
}

/// Reads the barrier, and creates it if it is missing.
pub(crate) async fn removals(shared: &Shared) -> Result<Removals, StoreError> {
    let mut script = shared.scripts.barrier.prepare_invoke();
    script.key(shared.keys.barrier()).arg(&nonce()[..]).arg(millis(TOKEN_TTL));
    let (token, groups): (Vec<u8>, Vec<u8>) = shared.client.invoke("reservation", &script).await?;
    removals_of(&token, &groups).ok_or_else(|| unavailable("reservation: the barrier is not valid"))
}

/// Removes the barrier, so that no write that began earlier is committed, for any key.
pub(crate) async fn refuse_pending_writes(shared: &Shared) -> Result<(), StoreError> {
    let mut command = redis::cmd("UNLINK");
    let _: i64 = shared.client.query("removal", command.arg(shared.keys.barrier())).await?;
    if shared.client.is_cluster() {
        // A writer that checked the barrier before it changed may still be committing. After this
        // wait its entry is visible, so that the scan that follows finds it.
        tokio::time::sleep(COMMIT_WINDOW.max(shared.options.command_timeout_at(Duration::ZERO) * 2)).await;
    }
    Ok(())
}

/// Reads the state before a validation, and creates what is missing.
pub(crate) async fn ticket(shared: &Shared, names: &Names) -> Result<Ticket, StoreError> {
    let mut script = shared.scripts.epoch.prepare_invoke();
    script.key(shared.keys.epoch(names)).arg(&nonce()[..]).arg(millis(EPOCH_TTL));
    let epoch = shared.client.run("lookup", async |connection: &mut Connection| {
        let (_, epoch): (Vec<u8>, Vec<u8>) = script.invoke_async(connection).await?;
        connection.epoch(&epoch)
    });
    let (epoch, removals) = tokio::try_join!(epoch, removals(shared))?;
    let epoch = epoch.ok_or_else(|| unavailable("lookup: the server can't store an epoch"))?;
    Ok(Ticket { epoch, removals })
}
