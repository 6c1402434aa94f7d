//! The promises about the optional abilities of stores that several processes share: leases, and
//! tokens of removals.

use larder_core::{Claim, Scope};

use super::{Store, group};
use crate::key;

/// Checks that the token of a key changes with each removal that may concern the key, to one that
/// it never had.
pub async fn a_removal_changes_the_token(store: Store) {
    let Some(removals) = store.removals() else { return };
    let token = async || removals.token(&key("/a")).await.expect("the store is up");
    let mut before = vec![token().await];
    assert_eq!(token().await, before[0], "nothing was removed");
    let news = group("news");
    for scope in
        [Scope::Key(&key("/a")), Scope::Group(&news), Scope::Prefix("http://example.com/"), Scope::All]
    {
        store.remove(scope).await.expect("the store is up");
        let now = token().await;
        assert!(!before.contains(&now), "after the removal of {scope}, the token is an earlier one");
        before.push(now);
    }
}

/// Checks that a lease has one holder, is released when dropped, and can then be claimed again.
pub async fn a_lease_has_one_holder(store: Store) {
    let Some(leases) = store.leases() else { return };
    let Ok(Claim::Granted(lease)) = leases.claim(&key("/a")).await else { panic!("the lease must be free") };
    let Ok(Claim::Held(held)) = leases.claim(&key("/a")).await else { panic!("the lease was granted twice") };
    assert!(matches!(leases.claim(&key("/b")).await, Ok(Claim::Granted(_))), "another key is another lease");
    let waiting = tokio::spawn(held.released());
    drop(lease);
    waiting.await.expect("it is released");
    assert!(
        matches!(leases.claim(&key("/a")).await, Ok(Claim::Granted(_))),
        "a released lease can be claimed"
    );
}
