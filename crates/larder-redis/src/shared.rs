//! The state that the parts of one store share: the client, the names of keys, the scripts, the
//! options, and both ends of the channels between processes. It decides nothing: each part chooses
//! what it sends with the client.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use larder_core::StoreError;

use crate::{
    RedisConnectError, RedisOptions,
    client::{EpochScript, RedisClient, scripts::Scripts, servers::Servers},
    entries::{keys::Keys, suspects::Suspects},
    fleet::{lease_events::Notifier, messages::Sender},
};

/// The state that the store's writers, bodies, leases and background tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Arc<RedisClient>,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) options: RedisOptions,
    pub(crate) suspects: Suspects,
    pub(crate) notifier: Notifier,
    pub(crate) sender: Sender,
    /// Values that were removed because they were not entries.
    corrupt: AtomicU64,
}

impl Shared {
    /// Connects to the servers and creates the state of a store.
    pub(crate) async fn connect(servers: Servers, options: RedisOptions) -> Result<Self, RedisConnectError> {
        let keys = Keys::new(&options.prefix, matches!(servers, Servers::Cluster(_)));
        let scripts = Scripts::new();
        let epoch = EpochScript { key: keys.single_epoch(), script: scripts.epoch.clone() };
        let client = RedisClient::connect(servers, &options, epoch).await?;
        Ok(Self {
            keys,
            scripts,
            suspects: Suspects::default(),
            notifier: Notifier::new(&client),
            sender: Sender::new(),
            client,
            options,
            corrupt: AtomicU64::new(0),
        })
    }

    /// Publishes an invalidation to the other processes.
    pub(crate) async fn publish(&self, message: Vec<u8>) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.keys.channel()).arg(message);
        let _: i64 = self.client.query("publishing an invalidation", &command).await?;
        Ok(())
    }

    /// Counts values that were not entries.
    pub(crate) fn count_corrupt(&self, count: usize) {
        self.corrupt.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Returns how many values were not entries.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }
}
