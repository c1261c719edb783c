//! What the functions of the door reach: the connection and the event at hand.
//!
//! Of one thread: a handler that calls the door from another finds nothing here, and harms nothing.

use std::cell::{Cell, RefCell};

use shim::{Offer, ShimError, Worker};

/// No client asked for log records.
pub const NOT_WANTED: u8 = u8::MAX;

struct State {
    worker: Worker,
    offer: Offer,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
    static CLAIM: Cell<u64> = const { Cell::new(0) };
    static WANTED: Cell<u8> = const { Cell::new(NOT_WANTED) };
}

/// This thread serves from now on.
pub fn enter(worker: Worker, offer: Offer) {
    STATE.set(Some(State { worker, offer }));
}

/// Works with the connection of this thread.
pub fn with_worker<R>(
    work: impl FnOnce(&mut Worker) -> Result<R, ShimError>,
) -> Result<R, ShimError> {
    STATE.with_borrow_mut(|state| match state {
        Some(state) => work(&mut state.worker),
        None => Err(ShimError::NotAWorker),
    })
}

/// The same for what cannot fail; `None` on a thread that does not serve.
pub fn peek<R>(look: impl FnOnce(&mut Worker, &Offer) -> R) -> Option<R> {
    STATE.with_borrow_mut(|state| state.as_mut().map(|s| look(&mut s.worker, &s.offer)))
}

/// Notes the event that the handler works on; 0 for none.
pub fn set_event(claim: u64, wanted: Option<u8>) {
    CLAIM.set(claim);
    WANTED.set(wanted.unwrap_or(NOT_WANTED));
}

pub fn claim() -> u64 {
    CLAIM.get()
}

/// Lowest level that the event's client wants.
pub fn wanted() -> u8 {
    WANTED.get()
}
