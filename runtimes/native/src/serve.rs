//! The loop: one event after the other, asleep in between.

use nuclio_sdk::abi;
use shim::abi::{content_type, outcome};
use shim::{Down, HeadBlock, Level, Origin, Reply, ReplyBody, ShimError, header_fault};

use crate::door::{Context, Hold, Library, bytes_of, lines_of};
use crate::state;

/// `poll_each` hands out the events of a batch one by one.
const UNSPLIT: &str = "a batch that was not split";
/// What a client is told of a failure where the function's `errorDetail` is `none`.
const NO_DETAIL: &[u8] = b"the function failed";

/// Serves until the processor says stop.
pub fn serve(library: &Library, context: Context) -> Result<(), ShimError> {
    loop {
        match state::with_worker(shim::Worker::poll_each)? {
            Some(Down::Event(event)) => one(library, context, event)?,
            Some(Down::Drain { trigger }) => state::with_worker(|worker| worker.drained(trigger))?,
            Some(Down::Batch(_)) => return Err(ShimError::Protocol(UNSPLIT)),
            // Native code cannot be stopped in the middle; at a deadline its worker is killed.
            Some(Down::Cancel { .. }) => {}
            Some(Down::Stop) => return Ok(()),
            None => {
                let alive = state::with_worker(|worker| Ok(!worker.arm() || worker.sleep()?))?;
                if !alive {
                    return Err(ShimError::ProcessorGone);
                }
            }
        }
    }
}

/// Waits to be ended: the processor reads a refusal before it sees a death only while we are alive.
pub fn wait_for_end() -> Result<(), ShimError> {
    loop {
        match state::with_worker(shim::Worker::poll)? {
            Some(Down::Stop) => return Ok(()),
            Some(_) => {}
            None => {
                let alive = state::with_worker(|worker| Ok(!worker.arm() || worker.sleep()?))?;
                if !alive {
                    return Ok(());
                }
            }
        }
    }
}

#[inline]
fn one(library: &Library, context: Context, event: shim::Event) -> Result<(), ShimError> {
    state::set_event(event.claim(), event.wanted_log_level());
    let hold = Hold::of(event);
    let mut response = abi::Response::OK;
    let code = library.handle(context, &hold, &mut response);
    let sent = answer(&hold, code, &response);
    crate::door::release(&mut response);
    state::set_event(0, None);
    sent
}

/// Sends what the handler has filled in.
#[inline]
fn answer(hold: &Hold, code: i32, response: &abi::Response) -> Result<(), ShimError> {
    let mut head = HeadBlock::new();
    let body = match readable(code, response, &mut head) {
        Ok(body) => body,
        Err(text) => return fail(hold, &text),
    };
    if response.outcome == outcome::ERROR && hides_errors() {
        return send(hold, response, &head, ReplyBody::Bytes(NO_DETAIL));
    }
    let body = match hold.event.place_in_body(body) {
        Some((offset, bytes)) => ReplyBody::InEvent { offset, bytes },
        None => ReplyBody::Bytes(body),
    };
    send(hold, response, &head, body)
}

/// The body, and the headers in `head`; or why this is no answer.
fn readable<'a>(
    code: i32,
    response: &'a abi::Response,
    head: &mut HeadBlock,
) -> Result<&'a [u8], String> {
    let body = bytes_of(response.body).ok_or("the handler's body is a null pointer")?;
    if code != 0 {
        return Err(match body {
            [] => format!("the handler returned {code}"),
            words => String::from_utf8_lossy(words).into_owned(),
        });
    }
    if !(100..=599).contains(&response.status) {
        return Err(format!("the handler's status {} is not 100 to 599", response.status));
    }
    if !(outcome::OK..=outcome::REJECT).contains(&response.outcome)
        || response.content_type > content_type::HTML
    {
        return Err("the handler's outcome or content type is none of those there are".into());
    }
    for line in lines_of(response).ok_or("the handler's headers are a null pointer")? {
        let name = bytes_of(line.name).ok_or("a header's name is a null pointer")?;
        let value = bytes_of(line.value).ok_or("a header's value is a null pointer")?;
        if let Some(fault) = header_fault(name, value) {
            return Err(fault.into());
        }
        if !head.push(name, value) {
            return Err("the handler's headers are larger than 16 KiB".into());
        }
    }
    Ok(body)
}

fn send(
    hold: &Hold,
    response: &abi::Response,
    head: &HeadBlock,
    body: ReplyBody<'_>,
) -> Result<(), ShimError> {
    let reply = Reply {
        status: response.status,
        outcome: response.outcome,
        content_type: response.content_type,
        head,
        body,
        retry_after_ns: response.retry_after_ns,
    };
    let (claim, begun_ns) = (hold.event.claim(), hold.event.begun_ns());
    state::with_worker(|worker| worker.reply_begun(claim, begun_ns, &reply, true))
}

/// A failed event: 500 with the reason, which is logged, too.
#[cold]
fn fail(hold: &Hold, text: &str) -> Result<(), ShimError> {
    let (claim, begun_ns) = (hold.event.claim(), hold.event.begun_ns());
    let shown = if hides_errors() { NO_DETAIL } else { text.as_bytes() };
    state::with_worker(|worker| {
        worker.log(Level::Error, Origin::Traceback, claim, text.as_bytes(), b"");
        worker.reply_begun(claim, begun_ns, &Reply::error(shown), true)
    })
}

fn hides_errors() -> bool {
    let none = |detail: &String| detail.eq_ignore_ascii_case("none");
    state::peek(|_, offer| offer.settings.get("errorDetail").is_some_and(none)).unwrap_or(false)
}
