//! The bytes of the store's files, as FORMAT.md describes them: the names of files, records of
//! segments, and buckets of the index. The state file and the tombstones are in `state`.

pub(crate) mod bucket;
pub(crate) mod file_name;
pub(crate) mod record;
pub(crate) mod state;
