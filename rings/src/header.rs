//! Writes and reads an event header in its slot.
//!
//! The writer lays out the fixed header, the header lines, the extents and the raw bytes in one
//! pass. The reader checks every range against the slot before it looks, so a wrong header can give
//! a wrong answer but no access outside.

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::{EventHeader, Extent, HeaderEntry, Range, event_flag};

const FIXED: usize = size_of::<EventHeader>();
const LINE: usize = size_of::<HeaderEntry>();
const EXTENT: usize = size_of::<Extent>();

/// Offset of the raw bytes behind a header with so many lines and extents.
pub const fn raw_offset(header_count: usize, extent_count: usize) -> usize {
    FIXED + header_count * LINE + extent_count * EXTENT
}

/// Writes header, lines and extents to the start of `slot`; the caller has put, or will put, the
/// raw bytes at [`raw_offset`]. Counts in `header` are set here. Panics if the slot is too small,
/// which is a bug of the caller.
pub fn write(
    slot: &mut [u8],
    header: &mut EventHeader,
    lines: impl ExactSizeIterator<Item = HeaderEntry>,
    extents: &[Extent],
) {
    header.header_count = lines.len() as u16;
    header.extent_count = extents.len() as u16;
    slot[..FIXED].copy_from_slice(header.as_bytes());
    let (line_bytes, rest) = slot[FIXED..].split_at_mut(lines.len() * LINE);
    for (to, line) in line_bytes.chunks_exact_mut(LINE).zip(lines) {
        to.copy_from_slice(line.as_bytes());
    }
    rest[..extents.len() * EXTENT].copy_from_slice(extents.as_bytes());
}

/// Says in a written header whether its event is the last of a batch.
pub fn set_last_in_batch(slot: &mut [u8], is_last: bool) {
    const AT: usize = std::mem::offset_of!(EventHeader, flags);
    let flags = u16::from_le_bytes([slot[AT], slot[AT + 1]]) & !event_flag::LAST_IN_BATCH;
    let flags = if is_last { flags | event_flag::LAST_IN_BATCH } else { flags };
    slot[AT..AT + 2].copy_from_slice(&flags.to_le_bytes());
}

/// A header read from a slot.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    bytes: &'a [u8],
}

impl<'a> EventView<'a> {
    /// A view of `bytes`, the slot from the header on; `None` if they cannot hold what the header
    /// counts.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let view = Self { bytes };
        if bytes.len() < FIXED {
            return None;
        }
        let header = view.header();
        let end = raw_offset(header.header_count as usize, header.extent_count as usize);
        (end <= bytes.len()).then_some(view)
    }

    /// The fixed part.
    pub fn header(&self) -> EventHeader {
        // The length was checked in `new`; a copy, since a slot need not be aligned for a reference.
        EventHeader::read_from_prefix(self.bytes).map(|(h, _)| h).unwrap_or_default()
    }

    /// The bytes of a range; empty if it lies outside.
    pub fn get(&self, range: Range) -> &'a [u8] {
        let start = range.offset as usize;
        self.bytes.get(start..start + range.length as usize).unwrap_or_default()
    }

    /// Header lines, in the order they came.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let view = *self;
        let count = view.header().header_count as usize;
        view.bytes[FIXED..FIXED + count * LINE].chunks_exact(LINE).map(move |line| {
            let line = HeaderEntry::read_from_bytes(line).unwrap_or_default();
            (view.get(line.name), view.get(line.value))
        })
    }

    /// Pieces of the body.
    pub fn extents(&self) -> impl ExactSizeIterator<Item = Extent> + use<'a> {
        let header = self.header();
        let start = FIXED + header.header_count as usize * LINE;
        let end = start + header.extent_count as usize * EXTENT;
        self.bytes[start..end]
            .chunks_exact(EXTENT)
            .map(|extent| Extent::read_from_bytes(extent).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_of_a_batch_is_told_and_taken_back() {
        let mut slot = [0u8; 256];
        let flags = event_flag::ID_IN_TOKEN;
        let mut header = EventHeader { flags, body_bytes: 7, ..Default::default() };
        write(&mut slot, &mut header, std::iter::empty(), &[]);
        let read = |slot: &[u8]| EventView::new(slot).unwrap().header();
        for (is_last, expected) in [(true, flags | event_flag::LAST_IN_BATCH), (false, flags)] {
            set_last_in_batch(&mut slot, is_last);
            assert_eq!((read(&slot).flags, read(&slot).body_bytes), (expected, 7));
        }
    }

    proptest! {
        /// What was written is read back, whatever the lines and extents.
        #[test]
        fn round_trip(
            lines in proptest::collection::vec(("[a-z]{0,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            extents in proptest::collection::vec((0u32..2, any::<u32>(), any::<u64>()), 0..5),
            offset in any::<u64>(),
        ) {
            let raw_at = raw_offset(lines.len(), extents.len());
            let mut slot = vec![0u8; 64 * 1024];
            let mut raw = Vec::new();
            let mut entries = Vec::new();
            for (name, value) in &lines {
                let mut put = |bytes: &[u8]| {
                    let range = Range { offset: (raw_at + raw.len()) as u32, length: bytes.len() as u32 };
                    raw.extend_from_slice(bytes);
                    range
                };
                entries.push(HeaderEntry { name: put(name.as_bytes()), value: put(value) });
            }
            slot[raw_at..raw_at + raw.len()].copy_from_slice(&raw);
            let extents: Vec<Extent> = extents.into_iter()
                .map(|(segment, length, offset)| Extent { segment, length, offset }).collect();
            let mut header = EventHeader { offset, attempt: 1, ..Default::default() };
            write(&mut slot, &mut header, entries.into_iter(), &extents);
            let view = EventView::new(&slot).unwrap();
            prop_assert_eq!(view.header().offset, offset);
            prop_assert_eq!(view.extents().collect::<Vec<_>>(), extents);
            let read: Vec<_> = view.lines().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            let wrote: Vec<_> = lines.into_iter().map(|(n, v)| (n.into_bytes(), v)).collect();
            prop_assert_eq!(read, wrote);
        }

        /// Any bytes are answered without a panic.
        #[test]
        fn random_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(view) = EventView::new(&bytes) {
                let _ = view.lines().map(|(n, v)| n.len() + v.len()).sum::<usize>();
                let _ = view.extents().count();
                let _ = view.get(view.header().path);
            }
        }
    }
}
