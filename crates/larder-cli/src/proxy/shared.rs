//! The state that the workers and the admin listener share: the current routes and the stores.
//!
//! `origins` builds the routes. This module's parent replaces them after a reload.

use std::sync::{Arc, Mutex, PoisonError};

use super::origins::RouteTable;
use crate::store_url::Stores;

/// What the workers and the admin listener share.
pub(crate) struct Shared {
    route_table: Mutex<Arc<RouteTable>>,
    pub(crate) stores: Stores,
}

impl Shared {
    /// Creates the state with the first routes.
    pub(crate) fn new(route_table: Arc<RouteTable>, stores: Stores) -> Self {
        Self { route_table: Mutex::new(route_table), stores }
    }

    /// Returns the current routes.
    pub(crate) fn route_table(&self) -> Arc<RouteTable> {
        Arc::clone(&self.route_table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the routes.
    pub(crate) fn replace(&self, route_table: Arc<RouteTable>) {
        *self.route_table.lock().unwrap_or_else(PoisonError::into_inner) = route_table;
    }
}
