//! Checks the store that the docs of `CacheStore` show.

include!("store.rs");

larder_testkit::store_suite!(map, async { MapStore::default() });
