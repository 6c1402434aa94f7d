//! Tests `Epochs`: each promise about removals by its name, for stores that commit at once and for
//! those that wait, and both with real threads.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use larder_core::{CacheGroup, CacheKey, Epochs, Scope, Timestamp};
use larder_testkit::key;
use tokio::{sync::oneshot, task::yield_now};

fn group(name: &str) -> CacheGroup {
    CacheGroup::new("http://example.com", name)
}

/// Returns whether a future is still pending after all other tasks had their turn.
async fn is_waiting<T>(task: &tokio::task::JoinHandle<T>) -> bool {
    for _ in 0..50 {
        yield_now().await;
    }
    !task.is_finished()
}

#[test]
fn a_commit_after_a_removal_is_refused_in_every_scope() {
    let (a, b, news) = (key("/news/a"), key("/b"), group("news"));
    let prefix = key("/news/").target();
    for scope in [Scope::Key(&a), Scope::Group(&news), Scope::Prefix(&prefix), Scope::All] {
        let epochs = Epochs::new();
        let groups = [news.clone()];
        let (before, other) = (epochs.reserve(&a), epochs.reserve(&b));
        epochs.remove(scope);
        assert_eq!(before.commit(&groups, || ()), None, "{scope}");
        assert!(before.is_revoked(&groups));
        assert_eq!(other.commit(&[], || ()).is_none(), scope == Scope::All, "another page, {scope}");
        let after = epochs.reserve(&a);
        assert_eq!(after.commit(&groups, || 7), Some(7), "reserved after the removal, {scope}");
    }
}

#[tokio::test]
async fn a_waiting_commit_after_a_removal_is_refused_in_every_scope() {
    let (a, b, news) = (key("/news/a"), key("/b"), group("news"));
    let prefix = key("/news/").target();
    for scope in [Scope::Key(&a), Scope::Group(&news), Scope::Prefix(&prefix), Scope::All] {
        let epochs = Epochs::new();
        let groups = [news.clone()];
        let (before, other) = (epochs.reserve(&a), epochs.reserve(&b));
        epochs.remove(scope).settled().await;
        assert!(before.begin_commit(&groups).await.is_none(), "{scope}");
        assert_eq!(other.begin_commit(&[]).await.is_none(), scope == Scope::All, "{scope}");
        assert!(epochs.reserve(&a).begin_commit(&groups).await.is_some(), "{scope}");
    }
}

/// A purge returned while a commit was still on its way to the server. The purged page appeared a
/// moment later, and stayed.
#[tokio::test]
async fn a_removal_waits_for_the_commits_that_it_came_too_late_to_refuse() {
    let (a, news) = (key("/news/a"), group("news"));
    let prefix = key("/news/").target();
    for scope in [Scope::Key(&a), Scope::Group(&news), Scope::Prefix(&prefix), Scope::All] {
        let epochs = Epochs::new();
        let ticket = epochs.reserve(&a);
        let commit = ticket.begin_commit(std::slice::from_ref(&news)).await.expect("nothing was removed");
        let removal = tokio::spawn(epochs.remove(scope).settled());
        assert!(is_waiting(&removal).await, "{scope} returned during a commit");
        drop(commit);
        removal.await.expect("it settles");
    }
}

#[tokio::test]
async fn a_removal_does_not_wait_for_the_commits_of_other_keys() {
    let epochs = Epochs::new();
    let ticket = epochs.reserve(&key("/b"));
    let _commit = ticket.begin_commit(&[]).await.expect("nothing was removed");
    epochs.remove(Scope::Key(&key("/a"))).settled().await;
    epochs.remove(Scope::Prefix(&key("/news/").target())).settled().await;
}

/// A removal came between the check of a commit that waited for its turn, and the turn.
#[tokio::test]
async fn a_commit_that_waits_for_its_turn_is_refused_by_a_removal() {
    let epochs = Epochs::new();
    let a = key("/a");
    let change = epochs.change(&a).await;
    let ticket = epochs.reserve(&a);
    let commit = tokio::spawn(async move { ticket.begin_commit(&[]).await.is_some() });
    assert!(is_waiting(&commit).await);
    let removal = epochs.remove(Scope::Key(&a));
    drop(change);
    assert!(!commit.await.expect("it ends"), "it was reserved before the removal");
    removal.settled().await;
}

#[tokio::test]
async fn changes_of_one_key_exclude_each_other_and_those_of_two_keys_do_not() {
    let epochs = Epochs::new();
    let first = epochs.change(&key("/a")).await;
    let other = epochs.change(&key("/b")).await;
    let second = tokio::spawn({
        let epochs = epochs.clone();
        async move { drop(epochs.change(&key("/a")).await) }
    });
    assert!(is_waiting(&second).await);
    drop(first);
    second.await.expect("its turn comes");
    drop(other);
}

/// A client disconnected while its write waited for the turn of its key. No later write of that
/// page was stored.
#[tokio::test]
async fn a_change_that_is_given_up_does_not_block_its_key() {
    let epochs = Epochs::new();
    let first = epochs.change(&key("/a")).await;
    let second = tokio::spawn({
        let epochs = epochs.clone();
        async move { drop(epochs.change(&key("/a")).await) }
    });
    assert!(is_waiting(&second).await);
    second.abort();
    let _ = second.await;
    drop(first);
    drop(epochs.change(&key("/a")).await);
}

#[test]
fn a_dropped_ticket_does_not_affect_other_writes_of_its_key() {
    let epochs = Epochs::new();
    let (first, second) = (epochs.reserve(&key("/a")), epochs.reserve(&key("/a")));
    drop(first);
    assert!(second.commit(&[], || ()).is_some());
    epochs.remove(Scope::Key(&key("/a")));
    assert!(second.commit(&[], || ()).is_none());
}

#[test]
fn a_removed_group_hides_the_entries_that_were_reserved_before() {
    let epochs = Epochs::new();
    let (news, sport) = ([group("news")], [group("sport"), group("news")]);
    let before = epochs.reserve(&key("/a")).epoch();
    assert!(!epochs.removed_since(&news, before));
    epochs.remove(Scope::Group(&news[0]));
    let after = epochs.reserve(&key("/a")).epoch();
    assert!(epochs.removed_since(&news, before) && epochs.removed_since(&sport, before));
    assert!(!epochs.removed_since(&sport[..1], before), "another group");
    assert!(!epochs.removed_since(&[], before), "an entry without groups");
    assert!(!epochs.removed_since(&news, after), "an entry that was reserved afterwards");
}

#[test]
fn a_group_is_stale_since_its_last_mark() {
    let epochs = Epochs::new();
    assert_eq!(epochs.stale_at(&[group("news")]), None);
    for at in [10, 30, 20] {
        epochs.mark_group_stale(&group("news"), Timestamp::from_secs(at));
    }
    assert_eq!(epochs.stale_at(&[group("sport"), group("news")]), Some(Timestamp::from_secs(30)));
    assert_eq!((epochs.stale_at(&[]), epochs.stale_at(&[group("sport")])), (None, None));
    assert!(!epochs.removed_since(&[group("news")], 0), "a mark removes nothing");
}

/// Number of keys, and of removals that each stress test makes.
const KEYS: usize = 8;
const REMOVALS: usize = 400;

/// An entry of a stress test: the round in which its write began, and its epoch.
type Entries = Mutex<HashMap<CacheKey, (usize, u64)>>;

fn page(n: usize) -> CacheKey {
    key(&format!("/news/{}", n % KEYS))
}

/// Checks that no entry of a round before that of the removal is visible.
fn check_removed(epochs: &Epochs, entries: &Entries, groups: &[CacheGroup], round: usize) {
    for (key, (written, epoch)) in entries.lock().expect("no thread panics").iter() {
        let visible = !epochs.removed_since(groups, *epoch);
        assert!(*written >= round || !visible, "{key:?} of round {written} survived removal {round}");
    }
}

/// Returns each kind of scope in turn.
fn scope_of<'a>(round: usize, key: &'a CacheKey, group: &'a CacheGroup, prefix: &'a str) -> Scope<'a> {
    [Scope::Key(key), Scope::Group(group), Scope::Prefix(prefix), Scope::All][round % 4]
}

/// Ends the writers of a stress test, also if an assertion fails.
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Checks with real threads that no entry of an earlier round is visible after a removal: the
/// round is read after the reservation, as an origin responds after the request.
#[test]
fn removals_win_over_commits_of_other_threads() {
    let (epochs, entries) = (Epochs::new(), Entries::default());
    let (round, done) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let groups = [group("news")];
    std::thread::scope(|scope| {
        let guard = Done(Arc::clone(&done));
        for thread in 0..3 {
            let (epochs, entries, round, done, groups) = (&epochs, &entries, &round, &done, &groups);
            scope.spawn(move || {
                for n in (thread..).take_while(|_| !done.load(Ordering::Acquire)) {
                    let ticket = epochs.reserve(&page(n));
                    let written = (round.load(Ordering::Acquire), ticket.epoch());
                    ticket.commit(groups, || {
                        entries.lock().expect("no panic").insert(page(n), written);
                    });
                }
            });
        }
        for n in 1..=REMOVALS {
            round.store(n, Ordering::Release);
            let prefix = key("/news/").target();
            for page in (0..KEYS).map(page) {
                let removed = scope_of(n, &page, &groups[0], &prefix);
                epochs.remove(removed);
                if !matches!(removed, Scope::Group(_)) {
                    epochs.update(&page, || {
                        entries.lock().expect("no panic").remove(&page);
                    });
                }
            }
            check_removed(&epochs, &entries, &groups, n);
        }
        drop(guard);
    });
}

/// Checks the same for commits that wait between their check and the moment at which the entry is
/// visible.
#[test]
fn removals_win_over_commits_that_wait() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build();
    runtime.expect("a runtime").block_on(async {
        let (epochs, entries) = (Epochs::new(), Arc::new(Entries::default()));
        let (round, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let groups = [group("news")];
        let guard = Done(Arc::clone(&done));
        let mut writers = Vec::new();
        for task in 0..3 {
            let (epochs, entries, groups) = (epochs.clone(), Arc::clone(&entries), groups.clone());
            let (round, done) = (Arc::clone(&round), Arc::clone(&done));
            writers.push(tokio::spawn(async move {
                for n in (task..).take_while(|_| !done.load(Ordering::Acquire)) {
                    let ticket = epochs.reserve(&page(n));
                    let written = (round.load(Ordering::Acquire), ticket.epoch());
                    if let Some(_commit) = ticket.begin_commit(&groups).await {
                        // The request is on its way to the server.
                        let (sent, received) = oneshot::channel();
                        tokio::spawn(async move { sent.send(()) });
                        let _ = received.await;
                        entries.lock().expect("no panic").insert(page(n), written);
                    }
                    yield_now().await;
                }
            }));
        }
        for n in 1..=REMOVALS {
            round.store(n, Ordering::Release);
            let prefix = key("/news/").target();
            for page in (0..KEYS).map(page) {
                let removed = scope_of(n, &page, &groups[0], &prefix);
                epochs.remove(removed).settled().await;
                if !matches!(removed, Scope::Group(_)) {
                    let _change = epochs.change(&page).await;
                    entries.lock().expect("no panic").remove(&page);
                }
            }
            check_removed(&epochs, &entries, &groups, n);
        }
        drop(guard);
        for writer in writers {
            writer.await.expect("no task panics");
        }
        epochs.remove(Scope::All).settled().await;
    });
}
