//! The store of the example `sqlite_store` keeps the contract, and its entries when it is opened
//! again.

#[path = "../sqlite_store.rs"]
#[expect(dead_code, reason = "the program's main function is not called")]
mod example;

use std::sync::Arc;

use example::Sqlite;
use larder::core::{CacheStore, KeyValueStore};
use larder_testkit::{DelegatingStore, StoreDelegate, durable_contract};

/// A store on a new database, which is deleted with it.
#[derive(Debug)]
struct Temporary {
    store: KeyValueStore,
    _folder: tempfile::TempDir,
}

impl StoreDelegate for Temporary {
    fn inner(&self) -> &dyn CacheStore {
        &self.store
    }
}

async fn new_store() -> DelegatingStore<Temporary> {
    let folder = tempfile::tempdir().expect("a directory");
    let database = Sqlite::open(&folder.path().join("cache.sqlite")).await.expect("a new database");
    DelegatingStore::new(Temporary { store: KeyValueStore::new(database), _folder: folder })
}

larder_testkit::store_suite!(sqlite, new_store());

/// Runs a promise that opens the store more than once.
fn check<F: Future<Output = ()>>(promise: impl FnOnce(Box<dyn Fn() -> Arc<dyn CacheStore>>) -> F) {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("cache.sqlite");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let open = move || -> Arc<dyn CacheStore> {
        let opened =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(Sqlite::open(&path)));
        Arc::new(KeyValueStore::new(opened.expect("a database")))
    };
    runtime.block_on(promise(Box::new(open)));
}

#[test]
fn a_committed_entry_survives_reopening() {
    check(durable_contract::a_committed_entry_survives_reopening);
}

#[test]
fn an_uncommitted_entry_does_not_survive_reopening() {
    check(durable_contract::an_uncommitted_entry_does_not_survive_reopening);
}

#[test]
fn a_removal_survives_reopening() {
    check(durable_contract::a_removal_survives_reopening);
}
