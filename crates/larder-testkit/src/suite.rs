//! The store suite: each sentence of `CacheStore`'s contract, as a function that panics if a store breaks it.
//!
//! [`store_suite!`](crate::store_suite) makes a test of each. What a store can do (`follow`, `leases`) is taken from what
//! it says: a sentence about an ability that it does not have has nothing to check.

/// Makes one test for each sentence of the contract. The expression is a future of a new, empty store.
///
/// ```text
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
            every_range_is_what_it_says
            a_reader_finishes_what_was_replaced
            a_reader_finishes_what_was_removed
            a_commit_after_the_removal_of_its_key_is_refused
            a_commit_after_a_clear_is_refused
            a_commit_after_the_removal_of_its_group_is_refused
            what_was_reserved_before_a_removal_is_refused
            a_write_begun_after_a_removal_is_kept
            a_removal_takes_every_variant
            a_removal_takes_no_other_key
            freshening_changes_the_head_alone
            freshening_what_is_gone_changes_nothing
            a_commit_replaces_the_same_variant_alone
            the_newest_comes_first
            a_group_is_removed_wherever_it_is
            a_group_of_another_origin_stays
            clear_takes_everything
            a_group_is_outdated_wherever_it_is
            a_prefix_is_outdated
            a_prefix_is_removed
            a_removal_by_prefix_outruns_every_fill
            a_clear_outruns_every_fill
            a_removal_by_group_outruns_every_fill
            a_removal_by_key_outruns_every_fill
            what_is_written_can_be_followed
            a_follower_of_an_abandoned_write_fails
            fills_and_removals_at_once_tear_nothing
            a_lease_is_given_to_one
        );
    };
    (@each $name:ident, $make:expr; $($sentence:ident)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the store's expression may need them")]
            use super::*;
            $(
                #[test]
                fn $sentence() {
                    $crate::run(async {
                        let store: std::sync::Arc<dyn ::larder_core::CacheStore> = std::sync::Arc::new($make.await);
                        $crate::contract::$sentence(store).await;
                    });
                }
            )*
        }
    };
}
