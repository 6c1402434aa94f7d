//! The engine: takes a request from lookup to response.
//!
//! [`Cache`] (`cache`) is the front: each of its methods enters one of the phases, which are
//! functions that share one `Context`. A request passes through them in this order, and each calls
//! only those after it:
//!
//! 1. **Key.** The adapter derives the [`CacheKey`](crate::CacheKey) from the target URI.
//! 2. **Look up** (`lookup`) the candidates.
//! 3. **Decide** (`decide`) by [`Rules::reuse`](crate::Rules::reuse). A fresh response is served
//!    (`serve`), and none of the following phases is entered.
//! 4. **Collapse** (`miss`): one fetch for each key. Its first request leads (`miss/lead`), the
//!    other requests follow (`miss/follow`), and `miss/flights` connects them.
//! 5. **Fetch** (`fetch`): send the request, with conditions if a stored response can be validated
//!    (`fetch/exchange`), and handle what comes back: `fetch/on_response`, `fetch/on_not_modified`
//!    or `fetch/on_error`.
//! 6. **Fill** (`fill`): the body goes to the client and to the store (`fill/writing`). A body that
//!    is still arriving is distributed to its readers by `fill/fanout`.
//!
//! Each phase returns a value to the one before it. The fetch returns the response, the outcome for
//! the followers (`outcome`) and the rest of the writing; `miss/lead` then completes the flight, in
//! one place.
//!
//! A stale response that may be served while it is revalidated is served, and step 5 continues in
//! the background (`background`). Unsafe requests are forwarded (`fetch/unchanged`) and invalidate
//! stored responses on the way back (`invalidate`).
//!
//! Below the phases: `context` has the state that they share and the calls to the store, `limits`
//! the limits, `options` what one request can set, `request` the request on its way through steps 4
//! to 6, `response` and `error` the results, `events`, `report` and `stopwatch` what the observer
//! receives, and `tasks` the background tasks. `excess` limits the variants of a key by what
//! `variants` knows of their uses, in a table of `recent`. `bypass` is the way around the engine,
//! and `pass` that of requests to switch protocols.
//!
//! This is the only module that awaits both an origin and a store. It holds no lock across an await
//! and decides no caching rule: those are in `larder-policy`. A store failure is a miss. Each wait
//! has a limit ([`Limits`]), except the removal of a URL prefix and bodies that are not stored.

mod background;
mod bypass;
mod cache;
mod confirmed;
mod context;
mod date_line;
mod decide;
mod error;
mod events;
mod excess;
mod failing;
mod fetch;
mod fill;
mod forms;
mod invalidate;
mod limits;
mod lookup;
mod miss;
mod options;
mod outcome;
mod pass;
mod range_options;
mod recent;
mod report;
mod request;
mod response;
mod resume;
mod serve;
mod stopwatch;
mod tasks;
mod unconfirmed;
mod variants;

pub use bypass::Bypass;
pub use cache::{Cache, CacheBuilder};
pub use confirmed::{Confirmed, RefreshTurn, Refreshes};
pub use error::FetchError;
pub use events::{
    Answered, BodyBroken, Event, Finished, NotStored, Observer, StoreFailed, StoreStep, Stored,
    VariantEvicted,
};
pub use forms::forms_of;
pub use limits::Limits;
pub use lookup::Lookup;
pub use miss::Miss;
pub use options::{FetchOptions, OverrideFn, ResponseContext};
pub use range_options::RangeOptions;
pub use response::CacheResponse;
