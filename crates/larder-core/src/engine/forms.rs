//! Names the group of all responses of one URL, for keys that have more than the URL.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::{CacheGroup, CacheKey};

/// Returns the group of the responses that were stored with this key as
/// [`FetchOptions::form_of`](crate::FetchOptions::form_of).
///
/// Its name is a digest of the key, so that it is short and shows no part of it.
///
/// ```
/// use larder_core::{CacheKey, TargetUri, forms_of};
///
/// let page = CacheKey::new(&TargetUri::parse("https://example.com/page")?);
/// assert_eq!(forms_of(&page).origin(), "https://example.com");
/// assert_ne!(forms_of(&page), forms_of(&page.with_extra(b"alice")));
/// # Ok::<(), larder_core::TargetError>(())
/// ```
pub fn forms_of(key: &CacheKey) -> CacheGroup {
    let target = key.target();
    let authority = target.find("://").map_or(0, |scheme| scheme + 3);
    let end = target[authority..].find(['/', '*']).map_or(target.len(), |path| authority + path);
    let mut name = "forms-".to_owned();
    for byte in &Sha256::digest(key.as_bytes())[..16] {
        let _ = write!(name, "{byte:02x}");
    }
    CacheGroup::new(&target[..end], &name)
}
