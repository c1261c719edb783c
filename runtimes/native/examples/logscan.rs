//! Scans a log: POST it, get as JSON how often each text of the pattern's first group occurs.
//! `curl --data-binary @access.log 'localhost:8080?pattern=" (\d{3}) '`
//!
//! ```cargo
//! [dependencies]
//! regex = "1"
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use nuclio_sdk::{Context, Error, Event, Response, Result, handler};
use regex::bytes::Regex;

/// What is looked for unless `?pattern=` says otherwise: the level of a log line.
const LEVELS: &str = r"\b(TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\b";
/// Different texts that are counted; a pattern that finds more is not a question about a log.
const DIFFERENT_MAX: usize = 1000;

thread_local! {
    /// The last pattern, compiled: most clients ask the same again.
    static LAST: RefCell<Option<Regex>> = const { RefCell::new(None) };
}

#[handler]
fn handler(context: &Context, event: Event) -> Result<Response> {
    let pattern = event.query_value("pattern").unwrap_or_else(|| LEVELS.into());
    let pattern = compiled(&pattern)?;
    let mut counts = BTreeMap::<&[u8], u64>::new();
    let mut lines = 0;
    for line in event.body().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        lines += 1;
        let Some(found) = pattern.captures(line) else { continue };
        let text = found.get(1).or_else(|| found.get(0)).map_or(&b""[..], |group| group.as_bytes());
        *counts.entry(text).or_default() += 1;
        if counts.len() > DIFFERENT_MAX {
            return Err(Error::status(422, format!("more than {DIFFERENT_MAX} different texts")));
        }
    }
    context.log(nuclio_sdk::Level::Info, "scanned", &[("lines", &lines)]);
    let found: Vec<String> =
        counts.iter().map(|(text, count)| format!("{:?}: {count}", lossy(text))).collect();
    Ok(Response::json(format!("{{\"lines\": {lines}, \"found\": {{{}}}}}\n", found.join(", "))))
}

fn compiled(pattern: &str) -> Result<Regex> {
    LAST.with_borrow_mut(|last| match last {
        Some(regex) if regex.as_str() == pattern => Ok(regex.clone()),
        _ => {
            let regex = Regex::new(pattern).map_err(|error| Error::status(400, error))?;
            Ok(last.insert(regex).clone())
        }
    })
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(char::is_control, "?")
}
