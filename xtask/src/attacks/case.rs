//! A case: what must not happen, to which targets, and the attack that tries it.

use super::lab::{Lab, Target};

/// All targets.
pub(super) const ALL: &[Target] = &[Target::Proxy, Target::Actix, Target::Axum];
/// The proxy only: the attack needs an origin behind it, its options or its listeners.
pub(super) const PROXY: &[Target] = &[Target::Proxy];
/// The axum application only.
pub(super) const AXUM: &[Target] = &[Target::Axum];

/// What was seen: one line. An error states the harm.
pub(super) type Outcome = anyhow::Result<String>;

/// An attack, and the check by a second client.
pub(super) struct Case {
    /// States what must not happen. At most 40 characters.
    pub(super) name: String,
    pub(super) on: &'static [Target],
    pub(super) run: Box<dyn Fn(&Lab<'_>) -> Outcome + Send + Sync>,
}

impl Case {
    /// Creates a case.
    pub(super) fn new(
        name: &str,
        on: &'static [Target],
        run: impl Fn(&Lab<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), on, run: Box::new(run) }
    }
}
