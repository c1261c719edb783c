//! Standard error as log records: a line each, cut to a bound, never waited for.

use shim::{Level, Origin, Worker};

use crate::limits::LOG_LINE_BYTES_MAX;

/// The line that has not ended yet.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Takes what was read; whole lines become records of the event `claim` (0 for none).
    pub fn take(&mut self, worker: &mut Worker, claim: u64, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.add(worker, claim, end);
                    self.flush(worker, claim);
                }
                None => self.add(worker, claim, piece),
            }
        }
    }

    fn add(&mut self, worker: &mut Worker, claim: u64, mut bytes: &[u8]) {
        while self.open.len() + bytes.len() > LOG_LINE_BYTES_MAX {
            let (now, later) = bytes.split_at(LOG_LINE_BYTES_MAX - self.open.len());
            self.open.extend_from_slice(now);
            self.flush(worker, claim);
            bytes = later;
        }
        self.open.extend_from_slice(bytes);
    }

    /// What has been written without a line's end is a record, too.
    pub fn flush(&mut self, worker: &mut Worker, claim: u64) {
        if !self.open.is_empty() {
            worker.log(Level::Info, Origin::Stderr, claim, &self.open, b"");
            self.open.clear();
        }
    }
}
