//! Looks up the entries of a key: one read of the index, and one read of each record. Bodies that
//! are not read with their record are left to `body`, damaged records to `damage`.

use std::{io, sync::Arc};

use larder_core::{CacheKey, Candidate, Candidates, StoredBody, Timestamp, codec::NotAnEntry};

use crate::{
    format::{
        bucket::{Bucket, Slot},
        file_name::FileName,
        record::{ENVELOPE, Envelope, HEAD_READ, Record},
    },
    fs::pread::ReadMode,
    state::tombstones::TombstoneKind,
    volume::{Volume, body::DiskBody, damage::remove_corrupt, read_record::record_at},
};

/// Bytes of a record that are read at once if it is the only match. The rest of a longer record is
/// its body, which is read on demand.
const MAX_WHOLE_READ: usize = 256 << 10;

/// A candidate and the location of its record.
struct Found {
    slot: Slot,
    envelope: Envelope,
    candidate: Candidate,
}

/// Looks up the entries of a key, newest first.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] with [`ReadMode::NonBlocking`], if the data is not in memory.
pub(crate) fn lookup(volume: &Arc<Volume>, key: &CacheKey, mode: ReadMode) -> io::Result<Candidates> {
    let hash = volume.state_file.hash(key);
    let found = find(volume, key, hash as u32, mode)?;
    let found = volume.unconfirmed.filter(key, found);
    let found = mark_stale(volume, found, mode)?;
    volume.counters.count_lookup(hash, !found.is_empty());
    Ok(found)
}

/// Marks candidates stale if one of their groups was marked stale.
fn mark_stale(volume: &Volume, found: Candidates, mode: ReadMode) -> io::Result<Candidates> {
    let mut at = Vec::with_capacity(found.len());
    for group in found.iter().flat_map(|candidate| &*candidate.head.groups) {
        at.push((
            group.clone(),
            volume.stale.last(TombstoneKind::Group(volume.state_file.group_hash(group)), mode)?,
        ));
    }
    if at.iter().all(|(_, at)| *at == 0) {
        return Ok(found);
    }
    Ok(found.marked_stale(|head| {
        let of_head = at.iter().filter(|(group, at)| *at > 0 && head.groups.contains(group));
        of_head.map(|(_, at)| Timestamp::from_millis(*at)).max()
    }))
}

/// Finds the entries of a key. Repeats if an eviction removes a record's segment meanwhile.
fn find(volume: &Arc<Volume>, key: &CacheKey, tag: u32, mode: ReadMode) -> io::Result<Candidates> {
    let mut found: Vec<Found> = Vec::new();
    // If a segment was evicted meanwhile, its slots have been freed or point to copies by now.
    for _ in 0..4 {
        found.clear();
        let bucket = volume.index.bucket(tag, mode)?;
        if let Some(cached) = find_cached(volume, &bucket, key, tag, mode)? {
            return Ok(cached);
        }
        match collect(volume, &bucket, tag, key, mode, &mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            collected => {
                collected?;
                break;
            }
        }
    }
    found.sort_by_key(|found| std::cmp::Reverse(found.envelope.order));
    let only = if let [only] = &*found { Some((only.slot, only.envelope.reserved_at)) } else { None };
    let candidates: Arc<[Candidate]> = found.into_iter().map(|found| found.candidate).collect();
    if candidates.is_empty() {
        return Ok(Candidates::none());
    }
    let candidates = candidates.into();
    if let Some((slot, reserved_at)) = only {
        volume.read_cache.put(&slot, key, &candidates, reserved_at);
    }
    Ok(candidates)
}

/// Returns the entry from the read cache if exactly one slot matches and its record is cached.
fn find_cached(
    volume: &Volume,
    bucket: &Bucket,
    key: &CacheKey,
    tag: u32,
    mode: ReadMode,
) -> io::Result<Option<Candidates>> {
    let mut matching = bucket.matching(tag);
    let (Some((slot_number, slot)), None) = (matching.next(), matching.next()) else { return Ok(None) };
    let Some(cached) = volume.read_cache.get(&slot, key) else { return Ok(None) };
    for candidate in cached.candidates.iter() {
        if volume.was_removed(&candidate.head, cached.reserved_at, mode)? {
            return Ok(Some(Candidates::none()));
        }
    }
    if slot.referenced == 0 {
        volume.index.mark_referenced(bucket, slot_number);
    }
    Ok(Some(cached.candidates))
}

/// Reads the records of all matching slots, and adds those that are valid and not removed to
/// `found`.
fn collect(
    volume: &Arc<Volume>,
    bucket: &Bucket,
    tag: u32,
    key: &CacheKey,
    mode: ReadMode,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    let is_only_match = bucket.matching(tag).nth(1).is_none();
    for (slot_number, slot) in bucket.matching(tag) {
        let max_bytes = if is_only_match { MAX_WHOLE_READ } else { HEAD_READ };
        let record = match record_at(volume, &slot, key, max_bytes, mode)? {
            Ok(record) => record,
            Err(NotAnEntry::OtherKey) => continue,
            Err(why) => {
                remove_corrupt(volume, &slot, key, why, mode)?;
                continue;
            }
        };
        if volume.was_removed(&record.decoded.head, record.envelope.reserved_at, mode)? {
            continue;
        }
        if slot.referenced == 0 {
            volume.index.mark_referenced(bucket, slot_number);
        }
        let envelope = record.envelope;
        found.push(Found { slot, envelope, candidate: candidate(volume, &slot, record) });
    }
    Ok(())
}

/// Builds a candidate from a record.
fn candidate(volume: &Arc<Volume>, slot: &Slot, record: Record) -> Candidate {
    let Record { envelope, decoded, body } = record;
    let body = match (body, envelope.file) {
        (Some(body), _) => StoredBody::Whole(body),
        (None, Some(length)) => {
            let file = FileName::Body(envelope.hash, envelope.entry.0);
            StoredBody::Source(Arc::new(DiskBody::of_file(volume, *slot, file, decoded.entry, length)))
        }
        (None, None) => {
            let length = decoded.body_length.unwrap_or_default();
            let start = slot.position() + (ENVELOPE + decoded.length) as u64;
            StoredBody::Source(Arc::new(DiskBody::in_segment(volume, *slot, start, decoded.entry, length)))
        }
    };
    Candidate::new(envelope.entry, Arc::new(decoded.head), body)
}
