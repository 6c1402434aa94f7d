//! Runs the contract of every store on memory over memory: with a far store without an invalidation
//! feed, and with a near store that fails.

use std::sync::Arc;

use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore};
use larder_tiered::TieredStore;

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::default())
}

larder_testkit::store_suite!(plain, async { TieredStore::new(memory(), memory()) });

larder_testkit::store_suite!(near_is_down, async {
    let near = FaultyStore::new(memory());
    near.set(Fault::FailsAtCommit);
    TieredStore::new(Arc::new(near), memory())
});
