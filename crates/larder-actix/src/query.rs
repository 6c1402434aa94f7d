//! Parameters of a query that a response does not depend on: tracking, mostly.

use std::{borrow::Cow, sync::Arc};

/// Names of parameters that are left out of the key; a `*` at the end stands for anything.
#[derive(Debug, Clone, Default)]
pub(crate) struct IgnoredQuery(Arc<[String]>);

impl<P: Into<String>> FromIterator<P> for IgnoredQuery {
    fn from_iter<I: IntoIterator<Item = P>>(parameters: I) -> Self {
        Self(parameters.into_iter().map(Into::into).collect())
    }
}

impl IgnoredQuery {
    /// The path and query without what doesn't count.
    pub(crate) fn strip<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some((before, query)) = path.split_once('?').filter(|_| !self.0.is_empty()) else {
            return path.into();
        };
        let kept: Vec<&str> = query.split('&').filter(|parameter| !self.ignores(parameter)).collect();
        if kept.is_empty() { before.into() } else { format!("{before}?{}", kept.join("&")).into() }
    }

    fn ignores(&self, parameter: &str) -> bool {
        let name = parameter.split('=').next().unwrap_or_default();
        self.0.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == ignored,
        })
    }
}
