#![doc = include_str!("../README.md")]

mod clock;
pub mod contract;
mod delegating;
mod durable;
mod faulty;
pub mod fixtures;
mod heads;
mod origin;
mod raw;
mod reads;
mod suite;

pub use clock::ManualClock;
pub use delegating::{DelegatingStore, StoreDelegate};
pub use durable::durable_contract;
pub use faulty::{Fault, FaultyStore};
pub use heads::{head, key};
pub use origin::{BodySender, FnOrigin, ManualOrigin, ReceivedRequest, ReceivedRequests};
pub use raw::RawOrigin;
pub use reads::ReadFailure;

// The macros refer to these through this crate, so that a store's author needs no dependency on
// them.
#[doc(hidden)]
pub use larder_core;
#[doc(hidden)]
pub use tempfile;

/// Runs one contract function on a runtime with two threads, since stores are used concurrently.
#[doc(hidden)]
pub fn run(promise: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime").block_on(promise);
}
