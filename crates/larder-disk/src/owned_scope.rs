//! Holds the scope of a removal while it waits for its turn, and remembers the removal if it is
//! given up.

use std::sync::Arc;

use larder_core::{CacheGroup, CacheKey, Scope};

use crate::volume::Volume;

/// A [`Scope`] that owns its parts.
#[derive(Debug)]
pub(crate) enum OwnedScope {
    Key(CacheKey),
    Group(CacheGroup),
    Prefix(String),
    All,
}

impl OwnedScope {
    /// Copies a scope.
    pub(crate) fn of(scope: Scope<'_>) -> Self {
        match scope {
            Scope::Key(key) => Self::Key(key.clone()),
            Scope::Group(group) => Self::Group(group.clone()),
            Scope::Prefix(prefix) => Self::Prefix(prefix.to_owned()),
            Scope::All => Self::All,
        }
    }

    /// Returns the scope.
    pub(crate) fn get(&self) -> Scope<'_> {
        match self {
            Self::Key(key) => Scope::Key(key),
            Self::Group(group) => Scope::Group(group),
            Self::Prefix(prefix) => Scope::Prefix(prefix),
            Self::All => Scope::All,
        }
    }
}

/// A removal in progress. If it fails, or its future is dropped, it is remembered and carried out
/// later.
#[derive(Debug)]
pub(crate) struct PendingRemoval {
    volume: Arc<Volume>,
    scope: OwnedScope,
    pub(crate) is_confirmed: bool,
}

impl PendingRemoval {
    /// Creates the removal of this scope.
    pub(crate) fn new(volume: Arc<Volume>, scope: Scope<'_>) -> Self {
        Self { volume, scope: OwnedScope::of(scope), is_confirmed: false }
    }
}

impl Drop for PendingRemoval {
    fn drop(&mut self) {
        if !self.is_confirmed {
            self.volume.unconfirmed.record(self.scope.get());
        }
    }
}
