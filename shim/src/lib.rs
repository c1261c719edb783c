//! The worker's side of the protocol, shared by every language.
//!
//! A runtime attaches once, says that it is ready, then polls, replies and sleeps:
//!
//! ```no_run
//! # fn main() -> Result<(), shim::ShimError> {
//! let (mut worker, offer) = shim::Worker::attach("demo", "1.0")?;
//! worker.ready(1)?;
//! loop {
//!     match worker.poll()? {
//!         Some(shim::Down::Event(event)) => {
//!             let body = event.body().to_vec();
//!             worker.reply(event.claim(), &shim::Reply::ok(&body), true)?;
//!         }
//!         Some(shim::Down::Stop) => return Ok(()),
//!         Some(_) => {}
//!         None => {
//!             if worker.arm() && !worker.sleep()? {
//!                 return Ok(()); // the processor is gone
//!             }
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! Knows no language, no policy and no configuration file.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod batch;
mod body;
mod event;
mod fields;
mod log;
mod reply;
mod sending;
mod stream;
mod worker;

pub use body::BodyStep;
pub use event::{Body, Event, id_of};
pub use fields::{Extra, extra, header_fault};
pub use log::{Level, Origin};
pub use reply::{HeadBlock, Reply, ReplyBody};
pub use rings::abi;
pub use rings::attach::{Offer, TriggerOffer};
pub use rings::os::monotonic_ns;
pub use sending::Sending;
pub use worker::{Down, ShimError, Worker};
