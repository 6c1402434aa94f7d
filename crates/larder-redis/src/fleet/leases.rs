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
        // Released if the reply does not arrive in time or the caller no longer waits for it: the
        // server may have granted the lease.
        let mut holder = Holder { shared: Arc::clone(&self.0), names, token: Token::new(), may_hold: true };
        let mut command = redis::cmd("SET");
        command
            .arg(holder.names.lease())
            .arg(holder.token.as_str())
            .arg("NX")
            .arg("PX")
            .arg(millis(self.0.options.lease_duration));
        let granted: Option<String> = self.0.client.query("lease claim", &command).await?;
        if granted.is_some() {
            return Ok(Claim::Granted(Box::new(Granted::new(holder))));
        }
        holder.may_hold = false;
        Ok(Claim::Held(Box::new(Held { shared: Arc::clone(&self.0), names: holder.names.clone() })))
    }

    /// One connection carries both, and in a Cluster one node executes both: the names have the
    /// same hash tag.
    fn precede_lookups(&self) -> bool {
        true
    }
}

/// The holder of a lease, or a caller that may have become it. Dropping it releases the lease.
#[derive(Debug)]
struct Holder {
    shared: Arc<Shared>,
    names: Names,
    token: Token,
    may_hold: bool,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.may_hold {
            return;
        }
        let (shared, names, token) = (Arc::clone(&self.shared), self.names.clone(), self.token.clone());
        runtime.spawn(async move {
            let mut script = shared.scripts.release.prepare_invoke();
            script.key(names.lease()).arg(token.as_str()).arg(names.tagged());
            let _: Result<bool, _> = shared.client.invoke("lease release", &script).await;
        });
    }
}

/// A lease that this process holds. A task renews it; dropping it releases it.
#[derive(Debug)]
struct Granted {
    _holder: Holder,
    renewal: JoinHandle<()>,
}

impl Lease for Granted {}

impl Granted {
    /// Starts to renew a lease that was just granted, three times in its duration.
    fn new(holder: Holder) -> Self {
        let (store, lease) = (Arc::clone(&holder.shared), holder.names.lease());
        let token = holder.token.clone();
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
        Self { _holder: holder, renewal }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.renewal.abort();
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
