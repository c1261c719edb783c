//! Answers `hello`.

use nuclio_sdk::{Context, Event, handler};

#[handler]
fn handler(_context: &Context, _event: Event) -> &'static str {
    "hello"
}
