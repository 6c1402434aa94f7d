//! Leases: only the process that holds the lease of a key fetches it. A lease expires unless its
//! holder renews it, and its release is published to the waiting processes (see `lease_events`).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use larder_core::{CacheKey, Claim, HeldLease, Lease, Leases, StoreError};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    entries::{keys::Names, ttl::millis},
    shared::Shared,
    token::Token,
};

/// Longest time for which a waiter relies on notifications before it checks the lease.
const LEASE_POLL: Duration = Duration::from_secs(1);

/// The store's leases.
#[derive(Debug)]
pub(crate) struct RedisLeases(pub(crate) Arc<Shared>);

#[async_trait]
impl Leases for RedisLeases {
    async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError> {
        let names = self.0.keys.of(key);
        let holder = Token::new();
        let mut command = redis::cmd("SET");
        command
            .arg(names.lease())
            .arg(holder.as_str())
            .arg("NX")
            .arg("PX")
            .arg(millis(self.0.options.lease_duration));
        let granted: Option<String> = self.0.client.query("lease claim", &command).await?;
        Ok(match granted {
            Some(_) => Claim::Granted(Box::new(Granted::new(Arc::clone(&self.0), names, holder))),
            None => Claim::Held(Box::new(Held { shared: Arc::clone(&self.0), names })),
        })
    }
}

/// A lease that this process holds. A task renews it; dropping it releases it.
#[derive(Debug)]
struct Granted {
    shared: Arc<Shared>,
    names: Names,
    holder: Token,
    renewal: JoinHandle<()>,
}

impl Lease for Granted {}

impl Granted {
    /// Starts to renew a lease that was just granted, three times in its duration.
    fn new(shared: Arc<Shared>, names: Names, holder: Token) -> Self {
        let (store, lease, token) = (Arc::clone(&shared), names.lease(), holder.clone());
        let renewal = tokio::spawn(async move {
            let duration = store.options.lease_duration;
            loop {
                sleep(duration / 3).await;
                let mut script = store.scripts.renew.prepare_invoke();
                script.key(&lease).arg(token.as_str()).arg(millis(duration));
                // After an error the next attempt may still be in time. `false` means that the
                // lease has expired, or that another process holds it.
                if let Ok(false) = store.client.invoke::<bool>("lease renewal", &script).await {
                    return;
                }
            }
        });
        Self { shared, names, holder, renewal }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.renewal.abort();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, names, holder) = (Arc::clone(&self.shared), self.names.clone(), self.holder.clone());
        runtime.spawn(async move {
            let mut script = shared.scripts.release.prepare_invoke();
            script.key(names.lease()).arg(holder.as_str()).arg(names.tagged());
            let _: Result<bool, _> = shared.client.invoke("lease release", &script).await;
        });
    }
}

/// A lease that another caller holds.
#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    names: Names,
}

#[async_trait]
impl HeldLease for Held {
    async fn released(self: Box<Self>) {
        let waiter = self.shared.notifier.listen(self.names.tagged());
        waiter.subscribed(self.shared.options.connect_timeout).await;
        loop {
            // The future registers with the waiter when it is first polled, after the check. A
            // release in between is found by the next check.
            let notified = waiter.notified();
            let left: Result<i64, _> =
                self.shared.client.query("lease check", redis::cmd("PTTL").arg(self.names.lease())).await;
            match left {
                Ok(left) if left > 0 => {
                    let left = Duration::from_millis(left.unsigned_abs()) + Duration::from_millis(1);
                    let _ = timeout(left.min(LEASE_POLL), notified).await;
                }
                // Released, expired, or the server does not respond.
                _ => return,
            }
        }
    }
}
