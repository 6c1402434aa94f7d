//! [`store_suite!`](crate::store_suite): generates a test for each promise in
//! [`contract`](crate::contract).
//!
//! A store that returns `None` from an optional method (`follow`, `leases`, `removals`) passes the
//! tests of that ability. The promises themselves are in `contract`; a new one is added to both
//! files.

/// Generates one test for each promise of the `CacheStore` contract.
///
/// The first argument names the generated module. The second is a future that returns a new, empty
/// store, by value. It is evaluated for each test, on a tokio runtime with two worker threads. The
/// store needs room for a thousand small entries and a body of 3 MB.
///
/// A store without an optional ability (`None` from `follow`, `leases` or `removals`) passes its
/// tests: they are reported as `ok`, although there was nothing to check. The tests of `follow` are
/// `an_uncommitted_write_can_be_followed` and `a_follower_of_an_abandoned_write_fails`, that of
/// `leases` is `a_lease_has_one_holder`, that of `removals` is `a_removal_changes_the_token`.
///
/// ```
/// use larder_memory::MemoryStore;
///
/// larder_testkit::store_suite!(memory, async { MemoryStore::default() });
/// ```
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $make:expr) => {
        $crate::store_suite!(@each $name, $make;
            an_entry_is_found_once_it_is_committed
            nothing_is_found_before_the_commit
            a_dropped_writer_leaves_nothing
            a_body_comes_back_byte_for_byte
            an_empty_body_is_an_entry
            a_body_in_many_chunks_is_one_body
            a_range_returns_exactly_its_bytes
            a_reader_finishes_a_replaced_body
            a_reader_finishes_a_removed_body
            a_commit_after_the_removal_of_its_key_is_refused
            a_commit_after_a_clear_is_refused
            a_commit_after_the_removal_of_its_group_is_refused
            a_reservation_before_a_removal_is_refused
            a_write_begun_after_a_removal_is_stored
            a_removal_removes_every_variant
            a_removal_leaves_other_keys
            freshening_changes_only_the_head
            freshening_a_removed_entry_changes_nothing
            freshening_restores_no_entry_of_a_removed_group
            freshening_replaces_the_groups
            a_commit_replaces_only_the_same_variant
            an_eviction_removes_one_entry
            an_eviction_leaves_a_newer_entry
            an_eviction_revokes_no_write
            a_reader_finishes_an_evicted_body
            the_newest_entry_comes_first
            invalidating_a_group_removes_all_its_entries
            a_group_of_another_origin_stays
            a_clear_removes_everything
            marking_a_group_stale_marks_all_its_entries
            marking_a_prefix_stale_marks_all_its_urls
            marking_a_key_stale_marks_all_its_variants
            removing_a_prefix_removes_all_its_urls
            the_empty_prefix_is_everything
            a_removal_returns_how_many_entries_it_removed
            marking_stale_returns_how_many_entries_it_marked
            a_prefix_removal_wins_over_concurrent_writes
            a_clear_wins_over_concurrent_writes
            a_group_removal_wins_over_concurrent_writes
            a_key_removal_wins_over_concurrent_writes
            an_uncommitted_write_can_be_followed
            a_follower_of_an_abandoned_write_fails
            concurrent_writes_never_mix_bodies
            a_lease_has_one_holder
            a_removal_changes_the_token
        );
    };
    (@each $name:ident, $make:expr; $($promise:ident)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the store's expression may need them")]
            use super::*;
            $(
                #[test]
                fn $promise() {
                    $crate::run(async {
                        let store: std::sync::Arc<dyn $crate::larder_core::CacheStore> = std::sync::Arc::new($make.await);
                        $crate::contract::$promise(store).await;
                    });
                }
            )*
        }
    };
}
