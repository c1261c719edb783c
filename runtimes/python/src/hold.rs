//! Who may still look at an event's slot.
//!
//! A hold begins with the first `body_view` of an event and ends when the handler has returned and
//! no view is left; then, and not before, the processor may write the slot again. Everything here
//! happens while the interpreter is held, so the counters are plain numbers in atomic cells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::{buffer, link};

/// The right to look at the slot of one event.
pub struct Hold {
    claim: u64,
    /// Views, and moments in which one is being made.
    exports: AtomicU32,
    /// The event has been answered, without giving the slot back.
    answered: AtomicBool,
    /// The slot belongs to the processor again.
    over: AtomicBool,
    /// Forks of this process before the first view.
    forks: u64,
}

impl Hold {
    pub fn new(claim: u64) -> Arc<Self> {
        let never = || AtomicBool::new(false);
        let (exports, forks) = (AtomicU32::new(0), buffer::forks());
        Arc::new(Self { claim, exports, answered: never(), over: never(), forks })
    }

    /// One more who looks; false if it is too late.
    pub fn begin(&self) -> bool {
        if self.over.load(Ordering::Relaxed) {
            return false;
        }
        self.exports.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// One less; the last one after the answer gives the slot back.
    pub fn end(&self) {
        self.exports.fetch_sub(1, Ordering::Relaxed);
        if self.answered.load(Ordering::Relaxed) {
            self.release_if_unseen();
        }
    }

    /// To be asked right before the answer: true if nobody looks, so that the answer can give the
    /// slot back. Nobody can begin to look afterwards.
    pub fn end_with_answer(&self) -> bool {
        let unseen = self.is_unseen();
        self.over.store(unseen, Ordering::Relaxed);
        unseen
    }

    /// The answer was given and the slot kept: the last view gives it back.
    pub fn outlive_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.release_if_unseen();
    }

    /// Nobody looks here, and no child can: one that was forked since the first view may look as long
    /// as it lives, which nobody here can tell. Its slot stays until the worker ends.
    fn is_unseen(&self) -> bool {
        self.exports.load(Ordering::Relaxed) == 0 && buffer::forks() == self.forks
    }

    fn release_if_unseen(&self) {
        if self.is_unseen() && !self.over.swap(true, Ordering::Relaxed) {
            // A processor that is gone needs nothing back, and the loop notices that it is.
            if let Some(link) = link::link() {
                let _ = link.release(self.claim);
            }
        }
    }
}

/// Keeps a slot while something is being made of it.
pub struct Pin(pub Arc<Hold>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.end();
    }
}
