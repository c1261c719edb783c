//! Batches as they come down: neighbouring EVENT entries that begin together or not at all.

use rings::abi::{Entry, down, down_flag};

use crate::event::Event;
use crate::worker::{ShimError, Worker};

impl Worker {
    /// Takes the rest of a batch, whose first entry is at `index`, and begins all of it; `None` if it
    /// was recalled.
    pub(crate) fn begin_batch(
        &mut self,
        index: u32,
        first: Entry,
    ) -> Result<Option<Vec<Event>>, ShimError> {
        let mut entries = vec![first];
        let mut last = index;
        while entries.last().is_some_and(|entry| entry.flags & down_flag::BATCH_MORE != 0) {
            // One store publishes a batch, so its rest is there with its first entry.
            match self.next_entry()? {
                Some((at, entry)) if entry.kind == down::EVENT => {
                    last = at;
                    entries.push(entry);
                }
                _ => return Err(ShimError::Protocol("a batch without its end")),
            }
        }
        if self.must_skip(index, last, &first) {
            for entry in &entries {
                self.skip(entry)?;
            }
            return Ok(None);
        }
        entries.iter().map(|entry| self.begun(entry)).collect::<Result<_, _>>().map(Some)
    }
}
