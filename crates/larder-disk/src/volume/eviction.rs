//! Evicts entries in the order of the CLOCK algorithm, a queue with a second chance: the entries
//! that were committed first go first, except for those that have been looked up since their slot
//! was written. The record of such an entry is copied to the active segment, and so becomes young
//! again. One bit of each slot is all that this needs, and a scan over entries that are requested
//! once does not evict entries that are in use.
//!
//! The space of a record is freed together with its segment, when the last one of the segment has
//! been evicted. The space of a body in a file of its own is freed at once, also while another
//! process is still writing the segment with its record. The records of several segments are
//! therefore visited as one sequence, in the order of their commits. How much has to be freed is
//! decided in `space`.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::{
    format::{
        bucket::{Slot, UNIT},
        file_name::FileName,
    },
    fs::pread::ReadMode,
    sizes::Sizes,
    state::counters::Counters,
    volume::{
        Volume,
        append::append_to_segment,
        clock_hand::{ClockHand, Cursor},
    },
};

/// Records that are examined under one lock, which takes about a quarter of a millisecond.
const BATCH: usize = 64;
/// How many commits younger than the oldest record of another segment a record may be to be
/// examined before it. Lets a batch have more than one record if two processes commit in turns.
const ORDER_SLACK: u64 = 32;
/// Number of new segments after which all are listed again.
const RELIST_AFTER: u32 = 64;
/// Largest volume of records, in segments, that one round copies. After that it evicts referenced
/// records too: if every record were referenced, copying would free nothing for a long time.
const MAX_COPIED_SEGMENTS: u64 = 16;

/// What one caller may do to free space.
#[derive(Debug)]
pub(crate) struct Round {
    /// Bytes of records that may still be copied.
    copies: u64,
    /// Whether the segments have been listed and nothing has been found since.
    listed: bool,
}

impl Round {
    /// Creates a round in a directory with these sizes.
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self { copies: sizes.segment() * MAX_COPIED_SEGMENTS, listed: false }
    }

    /// Creates a round that evicts entries in use, too.
    pub(crate) fn without_copies() -> Self {
        Self { copies: 0, listed: false }
    }
}

/// Evicts the next entries, at most until `wanted` more bytes fit. Returns `false` if there are no
/// entries.
pub(crate) fn evict_next(
    volume: &Volume,
    hand: &mut ClockHand,
    round: &mut Round,
    wanted: u64,
) -> io::Result<bool> {
    // After an error, the next eviction begins with a new list.
    evict_oldest(volume, hand, round, wanted).inspect_err(|_| *hand = ClockHand::default())
}

/// Evicts the oldest entries.
fn evict_oldest(volume: &Volume, hand: &mut ClockHand, round: &mut Round, wanted: u64) -> io::Result<bool> {
    loop {
        reach(volume, hand)?;
        let oldest = hand.reached.iter().enumerate().filter_map(|(n, c)| Some((c.order?, n))).min();
        let Some((_, oldest)) = oldest else {
            if std::mem::replace(&mut round.listed, true) {
                return Ok(false);
            }
            list(volume, hand)?;
            continue;
        };
        round.listed = false;
        let cursor = hand.reached.swap_remove(oldest);
        let others = hand.reached.iter().filter_map(|cursor| cursor.order).min();
        let until = others.map_or(u64::MAX, |order| order.saturating_add(ORDER_SLACK));
        if let Some(cursor) = advance(volume, cursor, until, round, wanted)? {
            hand.reached.push(cursor);
        }
        return Ok(true);
    }
}

/// Lists the segments that have not been reached.
fn list(volume: &Volume, hand: &mut ClockHand) -> io::Result<()> {
    hand.listed = volume.state_file.peek()?.next_segment;
    hand.relist_at = hand.listed.saturating_add(RELIST_AFTER);
    let numbers = volume.directory.list()?.into_iter().filter_map(|name| match name {
        FileName::Segment(number) => Some(number),
        _ => None,
    });
    let mut segments: Vec<u32> =
        numbers.filter(|number| hand.reached.iter().all(|cursor| cursor.segment != *number)).collect();
    segments.sort_unstable();
    hand.next = segments.into();
    Ok(())
}

/// Updates the cursors that were at the end of their segment, and reaches the next segment if its
/// first record may be the oldest one.
fn reach(volume: &Volume, hand: &mut ClockHand) -> io::Result<()> {
    let mut kept = Vec::with_capacity(hand.reached.len() + 1);
    for cursor in hand.reached.drain(..) {
        if cursor.order.is_some() {
            kept.push(cursor);
        } else if let Some((file, is_active)) = open(volume, cursor.segment)? {
            kept.extend(at_end(volume, cursor, &file, is_active)?);
        }
    }
    hand.reached = kept;
    let created = volume.state_file.peek()?.next_segment;
    if hand.listed > 0 && hand.relist_at <= created {
        list(volume, hand)?;
    } else if hand.listed > 0 && hand.listed < created {
        hand.next.extend(hand.listed..created);
        hand.listed = created;
    }
    loop {
        let oldest = hand.reached.iter().filter_map(|cursor| cursor.order).min();
        let Some(&segment) = hand.next.front() else { return Ok(()) };
        let Some((file, is_active)) = open(volume, segment)? else {
            hand.next.pop_front();
            continue;
        };
        let mut cursor = Cursor { segment, position: 0, order: None, highest: 0, was_active: is_active };
        cursor.read(&file)?;
        if cursor.order.is_some_and(|order| oldest.is_some_and(|oldest| oldest < order)) {
            return Ok(());
        }
        hand.next.pop_front();
        if cursor.order.is_some() {
            hand.reached.push(cursor);
        } else {
            hand.reached.extend(at_end(volume, cursor, &file, is_active)?);
        }
    }
}

/// Handles a cursor that was at the end of its segment. Returns it unless the segment has been
/// removed, since no process writes it any more.
fn at_end(volume: &Volume, mut cursor: Cursor, file: &File, is_active: bool) -> io::Result<Option<Cursor>> {
    cursor.read(file)?;
    if cursor.order.is_some() || is_active {
        return Ok(Some(cursor));
    }
    if std::mem::take(&mut cursor.was_active) && cursor.position > 0 {
        // Now its short bodies can be evicted, too.
        (cursor.position, cursor.highest) = (0, 0);
        cursor.read(file)?;
        return Ok(Some(cursor));
    }
    remove_segment(volume, cursor.segment)?;
    Ok(None)
}

/// Opens a segment. Returns whether a process is writing it; otherwise it is locked until the file
/// is closed. Returns `None` if it does not exist.
fn open(volume: &Volume, segment: u32) -> io::Result<Option<(File, bool)>> {
    match volume.directory.open_file(FileName::Segment(segment)) {
        Ok(file) => {
            let is_active = file.try_lock().is_err();
            Ok(Some((file, is_active)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Evicts records from a cursor's position on: at most a batch, none of them younger than `until`,
/// and no more than `wanted` bytes need. Returns the cursor unless the segment has been removed.
fn advance(
    volume: &Volume,
    mut cursor: Cursor,
    until: u64,
    round: &mut Round,
    wanted: u64,
) -> io::Result<Option<Cursor>> {
    let Some((file, is_active)) = open(volume, cursor.segment)? else { return Ok(None) };
    cursor.was_active |= is_active;
    let mut referenced: Vec<(Slot, u64)> = Vec::new();
    let mut guard = volume.state_file.lock()?;
    for _ in 0..BATCH {
        let Some(envelope) = cursor.read(&file)?.filter(|_| cursor.order.is_some_and(|o| o <= until)) else {
            break;
        };
        let position = cursor.position;
        cursor.highest = cursor.order.unwrap_or_default();
        cursor.position += envelope.units() * UNIT;
        if is_active && envelope.file.is_none() {
            continue;
        }
        let mut bucket = volume.index.bucket(envelope.hash as u32, ReadMode::Blocking)?;
        let is_record = |slot: &Slot| slot.segment == cursor.segment && slot.position() == position;
        let found = bucket.matching(envelope.hash as u32).find(|(_, slot)| is_record(slot));
        let Some((slot_number, slot)) = found else { continue };
        let size = envelope.units() * UNIT;
        if slot.referenced > 0 && round.copies >= size {
            round.copies -= size;
            referenced.push((slot, size));
            continue;
        }
        bucket.clear(slot_number);
        volume.index.write(&bucket)?;
        Counters::add(&volume.counters.evicted);
        if slot.has_file {
            let freed = volume.discard(FileName::Body(envelope.hash, envelope.entry.0))?;
            guard.state.used = guard.state.used.saturating_sub(freed);
            if guard.state.used + wanted <= guard.state.limit() {
                break;
            }
        }
    }
    guard.save()?;
    drop(guard);
    for (slot, size) in referenced {
        copy(volume, &file, &slot, size)?;
    }
    if cursor.read(&file)?.is_some() {
        return Ok(Some(cursor));
    }
    at_end(volume, cursor, &file, is_active)
}

/// Copies a record to the active segment, and points its slot to the copy.
fn copy(volume: &Volume, file: &File, slot: &Slot, size: u64) -> io::Result<()> {
    let mut record = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut record, slot.position())?;
    // More than a segment is freed afterwards.
    let location = append_to_segment(volume, &record, |bytes| volume.state_file.account(bytes, 0))?;
    let _guard = volume.state_file.lock()?;
    volume.index.replace(slot, location)?;
    Ok(())
}

/// Removes a segment of which all records have been evicted.
fn remove_segment(volume: &Volume, number: u32) -> io::Result<()> {
    // Under the lock, for those who count the used space.
    let mut guard = volume.state_file.lock()?;
    let freed = volume.discard(FileName::Segment(number))?;
    guard.state.used = guard.state.used.saturating_sub(freed);
    guard.save()
}
