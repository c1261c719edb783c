//! The one connection of this process to its processor, and the events it still owes.
//!
//! It belongs to the thread that attached: Node's main thread. A worker thread that loads the addon
//! finds no connection and says so.

use std::cell::RefCell;

use napi::{Error, Result};
use shim::{Event, Offer, ShimError, Worker};

thread_local! {
    static LINK: RefCell<Option<Link>> = const { RefCell::new(None) };
}

/// Exit code after `give_up`; the processor sees the death, not the number.
const GIVEN_UP: i32 = 1;

/// See the module.
pub struct Link {
    pub worker: Worker,
    /// By tag: what has been begun and not answered.
    open: Vec<Option<Event>>,
    /// An event that was taken when the slab had no room for it, and its place in a batch.
    pub aside: Option<(Event, (usize, usize))>,
}

impl Link {
    /// Keeps an event until it is answered.
    pub fn begin(&mut self, event: Event) -> std::result::Result<(), ShimError> {
        let place = self.open.get_mut(event.claim() as u32 as usize);
        *place.ok_or(ShimError::Protocol("a tag that was not offered"))? = Some(event);
        Ok(())
    }

    /// The event of this claim, if it has not been answered.
    pub fn event(&self, claim: u64) -> Option<&Event> {
        let event = self.open.get(claim as u32 as usize)?.as_ref()?;
        (event.claim() == claim).then_some(event)
    }

    /// The same, to be answered now.
    pub fn end(&mut self, claim: u64) -> Option<Event> {
        self.event(claim)?;
        self.open.get_mut(claim as u32 as usize)?.take()
    }
}

/// A claim as two numbers that JavaScript can hold.
pub fn claim(tag: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(tag)
}

/// Attaches this process to the processor that started it.
pub fn attach(version: &str) -> std::result::Result<Offer, ShimError> {
    let (worker, offer) = Worker::attach("nodejs", version)?;
    let open = (0..offer.tags).map(|_| None).collect();
    LINK.with(|link| *link.borrow_mut() = Some(Link { worker, open, aside: None }));
    Ok(offer)
}

/// Runs `work` with the connection. A broken one ends the process: nobody takes its answers.
pub fn with<T>(work: impl FnOnce(&mut Link) -> std::result::Result<T, ShimError>) -> Result<T> {
    LINK.with(|link| {
        let mut link = link.borrow_mut();
        let link = link.as_mut().ok_or_else(not_attached)?;
        Ok(work(link).unwrap_or_else(|error| give_up(&error)))
    })
}

fn not_attached() -> Error {
    Error::from_reason("this thread has no connection to the processor: only the main thread has")
}

/// Ends the process when it cannot go on. User code is not run any more.
pub fn give_up(error: &ShimError) -> ! {
    if !matches!(error, ShimError::ProcessorGone) {
        eprintln!("nuclio node worker: {error}");
    }
    std::process::exit(GIVEN_UP)
}
