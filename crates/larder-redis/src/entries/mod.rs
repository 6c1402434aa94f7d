//! Reads, writes and removes stored entries.
//!
//! `keys` names the values on the server, `record` defines the bytes of one variant, and `ttl` how
//! long they are stored. `lookup` finds the variants of a key, `body` reads long bodies, `writer`
//! writes an entry, and `freshen` replaces its head. `removal`, `groups` and `scan` remove entries
//! or mark them stale; `barrier` keeps earlier writes from being committed after a removal, by
//! `tokens`. `suspects` decides about entries of which a removal may have been lost.
//!
//! Steps that must be atomic are scripts, in `client/scripts`. Other processes learn of changes by
//! the messages of `fleet`.

pub(crate) mod barrier;
pub(crate) mod body;
pub(crate) mod freshen;
pub(crate) mod groups;
pub(crate) mod keys;
pub(crate) mod lookup;
pub(crate) mod record;
pub(crate) mod removal;
pub(crate) mod scan;
pub(crate) mod suspects;
pub(crate) mod tokens;
pub(crate) mod ttl;
pub(crate) mod writer;
