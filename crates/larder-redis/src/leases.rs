//! One of several processes fetches: whoever has set the lease. It runs out unless its holder renews it, and is told to those
//! who wait when it is given back.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use larder_core::{CacheKey, Claim, HeldLease, Lease, Leases, StoreError};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{keys::Names, store::Shared, token::Token, writer::millis};

/// How long a waiter goes without looking for itself.
const LOOK: Duration = Duration::from_secs(1);

/// The store's leases.
#[derive(Debug)]
pub(crate) struct RedisLeases(pub(crate) Arc<Shared>);

#[async_trait]
impl Leases for RedisLeases {
    async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError> {
        let names = self.0.keys.of(key);
        let holder = Token::new();
        let mut command = redis::cmd("SET");
        command.arg(names.lease()).arg(holder.as_str()).arg("NX").arg("PX").arg(millis(self.0.options.lease));
        let granted: Option<String> = self.0.client.query("claiming", &command).await?;
        Ok(match granted {
            Some(_) => Claim::Granted(Box::new(Granted::new(Arc::clone(&self.0), names, holder))),
            None => Claim::Held(Box::new(Held { shared: Arc::clone(&self.0), names })),
        })
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
struct Granted {
    shared: Arc<Shared>,
    names: Names,
    holder: Token,
    renewing: JoinHandle<()>,
}

impl Lease for Granted {}

impl Granted {
    fn new(shared: Arc<Shared>, names: Names, holder: Token) -> Self {
        let (store, lease, token) = (Arc::clone(&shared), names.lease(), holder.clone());
        let renewing = tokio::spawn(async move {
            let lasts = store.options.lease;
            loop {
                sleep(lasts / 3).await;
                let mut script = store.scripts.renew.prepare_invoke();
                script.key(&lease).arg(token.as_str()).arg(millis(lasts));
                // A server that does not answer now may in time; one that says no has given it to somebody else.
                if let Ok(false) = store.client.invoke::<bool>("renewing a lease", &script).await {
                    return;
                }
            }
        });
        Self { shared, names, holder, renewing }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.renewing.abort();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, names, holder) = (Arc::clone(&self.shared), self.names.clone(), self.holder.clone());
        runtime.spawn(async move {
            let mut script = shared.scripts.release.prepare_invoke();
            script.key(names.lease()).arg(holder.as_str()).arg(names.tagged());
            let _: Result<bool, _> = shared.client.invoke("giving a lease back", &script).await;
        });
    }
}

/// Somebody else's.
#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    names: Names,
}

#[async_trait]
impl HeldLease for Held {
    async fn released(self: Box<Self>) {
        let ear = self.shared.notifier.listen(self.names.tagged());
        ear.subscribed(self.shared.options.connect_timeout).await;
        loop {
            // Before the look, so that what is said after it is heard.
            let heard = ear.notified();
            let left: Result<i64, _> = self
                .shared
                .client
                .query("looking for a lease", redis::cmd("PTTL").arg(self.names.lease()))
                .await;
            match left {
                Ok(left) if left > 0 => {
                    let left = Duration::from_millis(left.unsigned_abs()) + Duration::from_millis(1);
                    let _ = timeout(left.min(LOOK), heard).await;
                }
                // Given back, run out, or nobody can tell.
                _ => return,
            }
        }
    }
}
