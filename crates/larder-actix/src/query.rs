//! Query parameters that responses do not depend on, such as those for tracking.

use std::{borrow::Cow, sync::Arc};

/// Names of parameters that are left out of the cache key. A `*` at the end of a name matches any
/// rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct IgnoredQuery(Arc<[String]>);

impl<P: Into<String>> FromIterator<P> for IgnoredQuery {
    fn from_iter<I: IntoIterator<Item = P>>(parameters: I) -> Self {
        Self(parameters.into_iter().map(Into::into).collect())
    }
}

impl IgnoredQuery {
    /// Removes the ignored parameters from a path with query; borrows if no names are configured.
    pub(crate) fn strip<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some((before, query)) = path.split_once('?').filter(|_| !self.0.is_empty()) else {
            return path.into();
        };
        let relevant: Vec<&str> = query.split('&').filter(|parameter| !self.ignores(parameter)).collect();
        if relevant.is_empty() { before.into() } else { format!("{before}?{}", relevant.join("&")).into() }
    }

    /// Returns whether a parameter, such as `utm_source=x`, is ignored.
    fn ignores(&self, parameter: &str) -> bool {
        let name = parameter.split('=').next().unwrap_or_default();
        self.0.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == ignored,
        })
    }
}
