//! Answers the body it was sent without copying it.

use nuclio_sdk::{Context, Event, Response, handler};

#[handler]
fn handler(_context: &Context, event: Event) -> Response {
    Response::part_of_body(0..event.body().len())
}
