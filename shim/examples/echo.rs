//! A worker that answers each event with the event's own body, or with `hello` when there is none.
//! Shows the loop that every runtime has, and measures the path without a language.

use shim::{Down, Event, Reply, ReplyBody, ShimError, Worker};

fn main() -> Result<(), ShimError> {
    let (mut worker, _offer) = Worker::attach("echo", env!("CARGO_PKG_VERSION"))?;
    worker.ready(1)?;
    loop {
        match worker.poll()? {
            Some(Down::Event(event)) => answer(&mut worker, &event)?,
            Some(Down::Batch(events)) => {
                events.iter().try_for_each(|event| answer(&mut worker, event))?;
            }
            Some(Down::Drain { trigger }) => worker.drained(trigger)?,
            Some(Down::Cancel { .. }) => {}
            Some(Down::Stop) => return Ok(()),
            None => {
                if worker.arm() && !worker.sleep()? {
                    return Ok(());
                }
            }
        }
    }
}

fn answer(worker: &mut Worker, event: &Event) -> Result<(), ShimError> {
    let bytes = event.body_bytes() as u32;
    let body = ReplyBody::InEvent { offset: 0, bytes };
    let reply = if bytes == 0 { Reply::ok(b"hello") } else { Reply { body, ..Reply::ok(b"") } };
    worker.reply(event.claim(), &reply, true)
}
