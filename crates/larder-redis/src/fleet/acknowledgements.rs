//! Waits until the nodes with near copies have applied a removal.
//!
//! Each listener of invalidations is a node with a registration, which it renews (`invalidations`).
//! A removal publishes a number after its message, and each node stores the number once it has
//! applied everything before it. A node that does not has a feed that is no longer alive, and
//! serves no near copies, when the wait ends.

use std::time::Duration;

use larder_core::{Purged, StoreError};
use tokio::time::{sleep, timeout};

use crate::{entries::ttl::millis, shared::Shared, token::Token};

/// Time for which near copies may be served after a probe was sent that has been answered.
pub(crate) const ALIVE: Duration = Duration::from_secs(1);
/// Time after which no node that has not acknowledged serves near copies: longer than [`ALIVE`],
/// because clocks of machines run at different rates.
const WAIT: Duration = Duration::from_millis(1250);
/// How long a node is registered, besides the timeout of a command: longer than it is alive.
const REGISTERED: Duration = Duration::from_secs(3);
/// First pause between two looks at the acknowledgements, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Registers a node, or renews its registration. The server then publishes `probe` to the node, and
/// its `run_id` and the last number.
pub(crate) async fn register(shared: &Shared, node: &Token, probe: &Token) -> Result<(), StoreError> {
    let mut script = shared.scripts.register.prepare_invoke();
    script.key(shared.keys.nodes()).key(shared.keys.acknowledgements()).arg(node.as_str());
    script.arg(millis(REGISTERED + shared.options.longest_command_timeout()));
    script.arg(shared.keys.node_channel(node.as_str())).arg(format!("{} ", probe.as_str()));
    shared.client.invoke::<i64>("registration", &script).await.map(drop)
}

/// Stores that a node has applied everything up to a number.
pub(crate) async fn acknowledge(shared: &Shared, node: &Token, number: u64) {
    let mut command = redis::cmd("HSET");
    command.arg(shared.keys.acknowledgements()).arg(node.as_str()).arg(number);
    // Without it, the removal waits longer.
    let _: Result<i64, _> = shared.client.query("acknowledgement", &command).await;
}

/// Publishes the number of a removal that was published before, and returns it with the nodes that
/// acknowledge it.
///
/// `message` announces the removal. On a Cluster it is published again, because only messages from
/// one node arrive in order.
pub(crate) async fn publish_number(
    shared: &Shared,
    message: Vec<u8>,
) -> Result<(u64, Vec<String>), StoreError> {
    let again = if shared.client.is_cluster() { message } else { Vec::new() };
    let mut script = shared.scripts.synchronize.prepare_invoke();
    script.key(shared.keys.nodes()).key(shared.keys.acknowledgements());
    script.arg(shared.keys.channel()).arg(shared.sender.number_prefix()).arg(again);
    shared.client.invoke("removal", &script).await
}

/// Waits until each node has applied a removal, or serves no near copies. Returns the result of the
/// removal with the number of nodes.
pub(crate) async fn settle(shared: &Shared, (number, nodes): (u64, Vec<String>), purged: Purged) -> Purged {
    let mut silent = nodes.len();
    if silent > 0 {
        let _ = timeout(WAIT, async {
            let mut pause = PAUSES.0;
            loop {
                let mut command = redis::cmd("HMGET");
                command.arg(shared.keys.acknowledgements()).arg(&nodes);
                let numbers = shared.client.query::<Vec<Option<u64>>>("removal", &command).await;
                silent = numbers.map_or(silent, |numbers| {
                    numbers.iter().filter(|applied| applied.is_none_or(|applied| applied < number)).count()
                });
                if silent == 0 {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        })
        .await;
    }
    let count = |nodes: usize| nodes as u64;
    purged.with_nodes(count(nodes.len() - silent), count(silent))
}
