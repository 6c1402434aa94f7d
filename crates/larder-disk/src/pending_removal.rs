//! Remembers a removal that is given up.

use std::sync::Arc;

use larder_core::{OwnedScope, Scope};

use crate::volume::Volume;

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
            self.volume.unconfirmed.record(self.scope.as_scope());
        }
    }
}
