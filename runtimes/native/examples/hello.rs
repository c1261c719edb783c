//! Greets: `nuclio run hello.rs`, then `curl 'localhost:8080?name=Ada'`.

use nuclio_sdk::{Context, Event, Response, Result, handler};

#[handler]
fn handler(_context: &Context, event: Event) -> Result<Response> {
    let name = event.query_value("name").unwrap_or_else(|| "world".into());
    Ok(Response::text(format!("Hello, {name}!\n")))
}
