//! Room beside a stored head for what an adapter has made of it.

use std::{any::Any, fmt, sync::OnceLock};

/// At most one value of an adapter's choosing, made at the first hit and read at the later ones.
///
/// A clone starts empty: it belongs to one place in a store.
#[derive(Default)]
pub(crate) struct Prepared(OnceLock<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// The value if it is there, or made now. A second adapter with another type in the same cache makes its own
    /// each time.
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
                let made = make();
                let result = with(&made);
                // Losing a race against another hit is no loss.
                let _ = self.0.set(Box::new(made));
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
