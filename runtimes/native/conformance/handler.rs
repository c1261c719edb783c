//! What the conformance kit asks of a handler; see runtimes/conformance/README.md.
use std::time::Duration;

use nuclio_sdk::{Context, Error, Event, Response, Result, handler};

#[handler]
fn ways(context: &Context, event: Event) -> Result<Response> {
    let path = event.path();
    let (word, argument) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    Ok(match word {
        "headers" => {
            let seen = event.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"x-in"));
            let reply = Response::empty().with_header("X-Out", "a").with_header("X-Out", "b");
            let reply = reply.with_header("X-Empty", "");
            seen.fold(reply, |reply, (_, value)| reply.with_header("X-Seen", value))
        }
        "status" => Response::empty().with_status(argument.parse()?),
        "error" => return Err(Error::new("failed on purpose")),
        "log" => {
            context.info("logged by the handler");
            Response::empty()
        }
        "logs" => {
            for number in 0..argument.parse::<u32>()? {
                context.info(format!("one of many records, each as long as this: {number}"));
            }
            Response::empty()
        }
        "size" => Response::bytes(vec![b'x'; argument.parse()?]),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(200));
            Response::part_of_body(0..event.body().len())
        }
        _ => Response::part_of_body(0..event.body().len()),
    })
}
