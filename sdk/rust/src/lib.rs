//! Handlers for nuclio in Rust.
//!
//! ```
//! use nuclio_sdk::{Context, Event, Response, Result, handler};
//!
//! #[handler]
//! fn handler(context: &Context, event: Event) -> Result<Response> {
//!     let name = event.query_value("name").unwrap_or_else(|| "world".into());
//!     context.info("greeting");
//!     Ok(Response::text(format!("Hello, {name}!\n")))
//! }
//! ```
//!
//! `nuclio run handler.rs` builds and serves it. An error is that event's 500, a panic, too; what
//! aborts the process costs a worker, and the processor starts another.
#![deny(missing_docs)]

pub mod abi;
mod context;
#[doc(hidden)]
pub mod door;
mod error;
mod event;
mod reply;
mod text;

pub use context::{Context, Level};
pub use error::{Error, Result};
pub use event::Event;
pub use nuclio_sdk_macros::{handler, init};
pub use reply::{IntoReply, Response};
