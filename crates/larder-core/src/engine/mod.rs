//! The engine: takes a request from lookup to response.
//!
//! [`Cache`] (`cache`) is the front: each of its methods enters one of the phases, which are
//! functions that share one `Context`. A request passes through them in this order:
//!
//! 1. **Key.** The adapter derives the [`CacheKey`](crate::CacheKey) from the target URI.
//! 2. **Look up** (`lookup`) the candidates.
//! 3. **Decide** (`decide`) by [`Rules::reuse`](crate::Rules::reuse). A fresh response is served
//!    (`serve`), and none of the following phases is entered.
//! 4. **Collapse** (`miss`, `flights`): one fetch for each key; the other requests follow it.
//! 5. **Forward** (`forward`), with conditions if a stored response can be validated.
//! 6. **Fill** (`fill`, `fanout`, `backfill`): the body goes to the client and to the store, and
//!    the flight completes.
//!
//! A stale response that may be served while it is revalidated is served, and step 4 continues in
//! the background. Unsafe requests are forwarded and invalidate stored responses on the way back
//! (`purge`).
//!
//! Below the phases: `context` has the state that they share and the calls to the store, `limits`
//! the limits, `options` what one request can set, `pending` the request on its way through steps 4
//! to 6, `uncacheable` the keys of which requests are not collapsed, `response` and `error` the
//! results, `events` the observer, `tasks` the background tasks, and `readers` the clients of one
//! arriving body. `bypass` is the way around the engine.
//!
//! This is the only module that awaits both an origin and a store. It holds no lock across an await
//! and decides no caching rule: those are in `larder-policy`. A store failure is a miss. Each wait
//! has a limit ([`Limits`]), except the removal of a URL prefix and bodies that are not stored.

mod backfill;
mod bypass;
mod cache;
mod context;
mod decide;
mod error;
mod events;
mod fanout;
mod fill;
mod flights;
mod forward;
mod limits;
mod lookup;
mod miss;
mod options;
mod pending;
mod purge;
mod readers;
mod response;
mod serve;
mod tasks;
mod uncacheable;

pub use cache::{Cache, CacheBuilder};
pub use error::FetchError;
pub use events::{Event, Observer, StoreStep};
pub use limits::Limits;
pub use lookup::{Lookup, Miss};
pub use options::{FetchOptions, OverrideFn, ResponseContext};
pub use response::CacheResponse;
