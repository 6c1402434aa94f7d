//! Caches one value that an adapter derives from a stored head, beside that head, so that a hit
//! does not convert header fields again.

use std::{any::Any, fmt, sync::OnceLock};

/// At most one value of a type that the adapter chooses, created at the first hit and read at later
/// hits.
///
/// A clone starts empty, because the value belongs to one entry of a store.
#[derive(Default)]
pub(crate) struct Prepared(OnceLock<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// Calls `with` on the value, which `make` creates if it does not exist yet.
    ///
    /// If a second adapter uses the same cache with another type, its value is created for each
    /// call.
    pub(crate) fn get_or_make<T, R>(&self, make: impl FnOnce() -> T, with: impl FnOnce(&T) -> R) -> R
    where
        T: Send + Sync + 'static,
    {
        match self.0.get() {
            Some(prepared) => match prepared.downcast_ref::<T>() {
                Some(prepared) => with(prepared),
                None => with(&make()),
            },
            None => {
                let value = make();
                let result = with(&value);
                // If another hit has set the value first, that value is as good as this one.
                let _ = self.0.set(Box::new(value));
                result
            }
        }
    }
}

impl Clone for Prepared {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Prepared(made)" } else { "Prepared(empty)" })
    }
}
