//! The tokens of groups: read when an entry is written or validated, and compared by each commit
//! and lookup.
//!
//! A removal takes the next number of the barrier's counter, and stores it with a new token under
//! the group. A write in progress has read the counter when it began: a higher number in the group
//! is a later removal. A group without a token may have been removed since then, unless the counter
//! is still the same.

use larder_core::{CacheGroup, StoreError, Timestamp};

use crate::{
    entries::{
        tokens::{Removals, number_of, removals_of, token_of},
        ttl::{STALE_GROUP_TTL, TOKEN_TTL, millis},
    },
    error::{gone, unavailable},
    shared::Shared,
    token::{Nonce, nonce},
};

/// Attempts of a group removal, each of which the loss of the barrier can make void.
const MAX_ATTEMPTS: u32 = 5;

/// What a lookup finds under a group.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GroupState {
    /// The token, if there is one.
    pub(crate) token: Option<Nonce>,
    /// The time as of which the group's entries are stale.
    pub(crate) stale_at: Option<Timestamp>,
}

/// The token and the stale time of a group, as the server returns them.
type Fields = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Reads what is stored under each group.
pub(crate) async fn states(
    shared: &Shared,
    groups: impl Iterator<Item = &CacheGroup>,
) -> Result<Vec<GroupState>, StoreError> {
    let commands: Vec<_> = groups
        .map(|group| redis::cmd("HMGET").arg(shared.keys.group(group)).arg("t").arg("s").to_owned())
        .collect();
    let replies: Vec<Fields> = if commands.is_empty() {
        Vec::new()
    } else if shared.client.is_cluster() {
        // The names have different hash tags, so they can be on different nodes.
        let reads = commands.iter().map(|command| shared.client.query("group lookup", command));
        futures_util::future::try_join_all(reads).await?
    } else {
        let mut pipeline = redis::pipe();
        commands.into_iter().for_each(|command| {
            pipeline.add_command(command);
        });
        shared.client.pipeline("group lookup", &pipeline).await?
    };
    let state = |(token, stale): Fields| GroupState {
        token: token.and_then(|token| token_of(&token)),
        stale_at: stale.and_then(|at| number_of(&at)).map(Timestamp::from_millis),
    };
    Ok(replies.into_iter().map(state).collect())
}

/// Returns the token of each group, and creates those that are missing. They are stored for `ttl`
/// from now on.
///
/// # Errors
///
/// Returns an error of kind `Gone` if a group was removed after `since`, or may have been.
pub(crate) async fn begin(
    shared: &Shared,
    groups: &[CacheGroup],
    since: Option<Removals>,
    ttl: std::time::Duration,
) -> Result<Vec<Nonce>, StoreError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<_> = groups.iter().map(|group| shared.keys.group(group)).collect();
    let fresh = nonce();
    let run = async |names: &[String], barrier: Option<String>| {
        let mut script = shared.scripts.groups.prepare_invoke();
        script.key(names).arg(names.len()).arg(&fresh[..]).arg(millis(ttl));
        if let Some(barrier) = barrier {
            script.key(barrier);
        }
        shared.client.invoke::<Vec<Vec<u8>>>("group lookup", &script).await
    };
    let (replies, current) = if shared.client.is_cluster() {
        let runs = names.iter().map(|name| run(std::slice::from_ref(name), None));
        let replies = futures_util::future::try_join_all(runs).await?.concat();
        // After the tokens: a removal that this does not count changes them later.
        let mut command = redis::cmd("HMGET");
        command.arg(shared.keys.barrier()).arg("i").arg("g");
        let (token, groups): Fields = shared.client.query("group lookup", &command).await?;
        (replies, removals_of(&token.unwrap_or_default(), &groups.unwrap_or_default()))
    } else {
        let mut replies = run(&names, Some(shared.keys.barrier())).await?;
        let barrier = replies.split_off(names.len() * 4);
        (replies, barrier.first().zip(barrier.get(1)).and_then(|(token, groups)| removals_of(token, groups)))
    };
    let removed = || gone("a group of the entry was removed during the request to the origin");
    let (fields, _) = replies.as_chunks::<4>();
    let Some(since) = since else {
        return fields.iter().map(|[token, ..]| token_of(token).ok_or_else(removed)).collect();
    };
    let current = current.filter(|current| current.token == since.token).ok_or_else(removed)?;
    fields
        .iter()
        .map(|[token, barrier, removal, is_new]| {
            // A removal that another barrier has counted was before the reservation.
            let is_later =
                barrier[..] == since.token[..] && number_of(removal).is_none_or(|it| it > since.groups);
            let is_unknown = is_new[..] == *b"1" && current.groups != since.groups;
            if is_later || is_unknown { None } else { token_of(token) }.ok_or_else(removed)
        })
        .collect()
}

/// Changes the token of a group, so that no lookup returns the entries that were in it, and
/// publishes that.
pub(crate) async fn remove(shared: &Shared, group: &CacheGroup) -> Result<(), StoreError> {
    let (barrier, name) = (shared.keys.barrier(), shared.keys.group(group));
    let is_cluster = shared.client.is_cluster();
    for _ in 0..MAX_ATTEMPTS {
        let mut script = shared.scripts.count_removal.prepare_invoke();
        script.key(&barrier).arg(&nonce()[..]).arg(millis(TOKEN_TTL));
        let counted: Result<(Vec<u8>, Vec<u8>), _> = shared.client.invoke("group removal", &script).await;
        let (token, number) = match counted {
            // Without memory for a token: what is missing counts against entries and writes.
            Err(error) if error.kind() == larder_core::StoreErrorKind::Full => {
                for name in [&barrier, &name] {
                    let _: i64 = shared.client.query("group removal", redis::cmd("UNLINK").arg(name)).await?;
                }
                return shared.publish(shared.sender.group(group)).await;
            }
            counted => counted?,
        };
        let mut script = shared.scripts.remove_group.prepare_invoke();
        script.key(&name).arg(&nonce()[..]).arg(&token).arg(number).arg(millis(TOKEN_TTL));
        script.arg(shared.keys.channel()).arg(shared.sender.group(group));
        if !is_cluster {
            script.key(&barrier);
        }
        let mut is_ordered: bool = shared.client.invoke("group removal", &script).await?;
        if is_cluster {
            let mut command = redis::cmd("HGET");
            let current: Option<Vec<u8>> =
                shared.client.query("group removal", command.arg(&barrier).arg("i")).await?;
            is_ordered = current.as_ref() == Some(&token);
        }
        if is_ordered {
            return Ok(());
        }
        // The barrier was removed or lost in between: the number is not comparable with those of
        // writes that begin now.
    }
    Err(unavailable("group removal: the barrier was removed again and again"))
}

/// Stores the time as of which the entries of a group are stale, and publishes that.
pub(crate) async fn mark_stale(shared: &Shared, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
    let mut script = shared.scripts.mark_group.prepare_invoke();
    script.key(shared.keys.group(group)).arg(at.as_millis()).arg(millis(STALE_GROUP_TTL));
    // Near tiers remove their copies and read the stale entries again from here.
    script.arg(shared.keys.channel()).arg(shared.sender.group(group));
    shared.client.invoke::<i64>("marking a group stale", &script).await.map(drop)
}
