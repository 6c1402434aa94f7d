//! Removing, and making stale, what begins so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::StoreErrorKind;

use super::{Store, found, lifetime, only, pattern, plain, put, read};
use crate::key;

pub async fn a_prefix_is_removed(store: Store) {
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    put(&store, &key("/news/c"), plain(), &pattern(300_000)).await;
    let url = key("/news/").target();
    assert_eq!(store.remove_prefix(&url).await.expect("it removes"), 3);
    for path in ["/news/a", "/news/b", "/news/c"] {
        assert!(found(&store, &key(path)).await.is_empty(), "{path} was left");
    }
    assert_eq!(found(&store, &key("/other")).await.len(), 1, "what begins otherwise was removed");
    assert_eq!(store.remove_prefix(&url).await.expect("it removes"), 0);
}

pub async fn a_prefix_is_outdated(store: Store) {
    let second = Duration::from_secs(1);
    for path in ["/news/a", "/news/b", "/other"] {
        put(&store, &key(path), plain(), path.as_bytes()).await;
    }
    let fresh = lifetime(&store, &key("/other")).await;
    let at = only(&store, &key("/other")).await.head.terms.response_time.saturating_add(second);
    let url = key("/news/").target();
    store.outdate_prefix(&url, at).await.expect("it outdates");
    for path in ["/news/a", "/news/b"] {
        assert!(lifetime(&store, &key(path)).await <= second, "{path} is fresh past that instant");
        assert_eq!(read(&only(&store, &key(path)).await.body, None).await, path.as_bytes());
    }
    assert_eq!(lifetime(&store, &key("/other")).await, fresh);
    store.outdate_prefix("", at).await.expect("it outdates");
    assert!(lifetime(&store, &key("/other")).await <= second, "everything");
}

/// A page that was being stored when its folder was purged came back a moment later.
pub async fn a_removal_by_prefix_outruns_every_fill(store: Store) {
    const KEYS: usize = 40;
    let round = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let filling: Vec<_> = (0..2)
        .map(|task| {
            let (store, round, done) = (Arc::clone(&store), Arc::clone(&round), Arc::clone(&done));
            tokio::spawn(async move {
                for n in (task..).step_by(2) {
                    if done.load(Ordering::Acquire) == 1 {
                        break;
                    }
                    let reserved =
                        store.reserve(&key(&format!("/news/{}", n % KEYS))).await.expect("it reserves");
                    // What the origin says is of now: after the reservation.
                    let body = round.load(Ordering::Acquire).to_string();
                    let storing = async {
                        let mut writer = reserved.begin(plain(), None).await?;
                        writer.write(body.into()).await?;
                        writer.commit().await
                    };
                    match storing.await {
                        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Gone, "{error}"),
                        Ok(_) => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let prefix = key("/news/").target();
    for purge in 1..=20 {
        round.store(purge, Ordering::Release);
        store.remove_prefix(&prefix).await.expect("it removes");
        for n in 0..KEYS {
            for one in found(&store, &key(&format!("/news/{n}"))).await {
                let body = String::from_utf8(read(&one.body, None).await).expect("a number");
                assert!(body.parse::<usize>().expect("a number") >= purge, "what was purged came back");
            }
        }
    }
    done.store(1, Ordering::Release);
    for task in filling {
        task.await.expect("no task panics");
    }
}
