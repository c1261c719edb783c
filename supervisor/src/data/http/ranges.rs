//! Where the bytes of an event's body lie in the event memory.

use crate::data::inflight::EventKey;
use crate::data::reactor::Data;

impl Data {
    /// Where `bytes` bytes from `at` on of an event's body lie; what the body does not have is left
    /// out.
    pub fn event_ranges(&self, key: EventKey, at: usize, bytes: usize) -> Vec<(u32, usize, usize)> {
        let Some(event) = self.events.get(key) else { return Vec::new() };
        let mut ranges: Vec<(u32, usize, usize)> = Vec::new();
        if event.body.is_empty() {
            let (segment, offset, _) = self.slots.place(event.header);
            let start = offset as usize + event.body_inline_at as usize;
            ranges.push((segment, start, event.body_bytes as usize));
        } else {
            let mut left = event.body_bytes as usize;
            for slot in &event.body {
                let (segment, offset, room) = self.slots.place(*slot);
                let here = left.min(room as usize);
                left -= here;
                match ranges.last_mut() {
                    Some(last) if last.0 == segment && last.1 + last.2 == offset as usize => {
                        last.2 += here;
                    }
                    _ => ranges.push((segment, offset as usize, here)),
                }
            }
        }
        cut(ranges, at, bytes)
    }
}

/// `bytes` bytes from `at` on of consecutive ranges.
fn cut(
    ranges: Vec<(u32, usize, usize)>,
    mut at: usize,
    mut bytes: usize,
) -> Vec<(u32, usize, usize)> {
    let mut out = Vec::with_capacity(ranges.len());
    for (segment, offset, length) in ranges {
        let skip = at.min(length);
        at -= skip;
        let take = bytes.min(length - skip);
        bytes -= take;
        if take > 0 {
            out.push((segment, offset + skip, take));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_range_of_ranges() {
        let all = || vec![(0, 100, 10), (1, 0, 5), (1, 50, 7)];
        assert_eq!(cut(all(), 0, 22), all());
        assert_eq!(cut(all(), 9, 2), [(0, 109, 1), (1, 0, 1)]);
        assert_eq!(cut(all(), 15, 100), [(1, 50, 7)]);
        assert_eq!(cut(all(), 22, 1), []);
    }
}
