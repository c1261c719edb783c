//! `nuclio logs`: the last log lines of a function that runs here, and those to come.

use std::io::{BufRead, ErrorKind, IsTerminal, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::{Global, LogsArgs, Origins, OutputForm};
use crate::locate::Surroundings;
use crate::output::{EXIT_OK, Failure, Mistakes, no_colour_is_asked, note};
use crate::{admin, interrupt, names, registry};

/// The end of an event's id must have this many characters to name one event.
const EVENT_END_LEN_MIN: usize = 8;
/// The longest reason of a refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 1024;

pub fn logs(
    args: &LogsArgs,
    global: &Global,
    origins: &Origins,
    around: &Surroundings,
) -> Result<u8, Failure> {
    interrupt::end_with_130();
    let mut mistakes = Mistakes::default();
    mistakes.keep(names::check("NAME", &args.name));
    let namespace = global.namespace.as_deref().unwrap_or(names::NAMESPACE_DEFAULT);
    mistakes.keep(names::check(&origins.of("namespace"), namespace));
    let Some(page) = page(args, global, origins, &mut mistakes) else {
        return Err(mistakes.into_failure());
    };
    let registry = registry::folder(around).map_err(Failure::failed)?;
    let name = &args.name;
    let folder = registry::folder_of(&registry, namespace, name);
    if !matches!(registry::entry(&folder), Ok(Some(registry::Entry::Starting { .. }))) {
        registry::find(&registry, namespace, name).map_err(Failure::failed)?;
    }
    let silent = |error| Failure::failed(format!("{name} does not answer: {error}; try again"));
    let (status, mut body) = admin::open(&folder, &page).map_err(silent)?;
    if status != 200 {
        let mut reason = String::new();
        let _ = body.take(REFUSAL_BYTES_MAX).read_to_string(&mut reason);
        return Err(Failure::failed(format!("{name} refuses ({status}): {reason}")));
    }
    if args.follow {
        let limit = Some(admin::FOLLOW_SILENCE_LIMIT);
        body.get_ref().set_read_timeout(limit).map_err(silent)?;
    }
    copy_lines(&mut body, name)?;
    if args.follow {
        note(&format!("{name} has ended"));
    }
    Ok(EXIT_OK)
}

fn page(
    args: &LogsArgs,
    global: &Global,
    origins: &Origins,
    mistakes: &mut Mistakes,
) -> Option<String> {
    let mut page = String::from("/api/logs?form=");
    page += match global.output {
        OutputForm::Text | OutputForm::Wide => "people",
        OutputForm::Json => "json",
        OutputForm::Yaml => {
            mistakes.add("--output: log lines have no yaml form; write -o json");
            "json"
        }
    };
    if std::io::stdout().is_terminal() && !no_colour_is_asked() {
        page += "&colour=1";
    }
    if args.follow {
        page += "&follow=1";
    }
    if let Some(event) = &args.event {
        let told = check_event(event).map_err(|told| format!("{}: {told}", origins.of("event")));
        mistakes.keep(told);
        page += &format!("&event={event}");
    }
    if let Some(since) = &args.since {
        let time = super::exec::read_timeout(since).map(Option::unwrap_or_default);
        let time = mistakes.keep(time.map_err(|told| format!("{}: {told}", origins.of("since"))));
        page += &format!("&since={}", unix_ns_before(time.unwrap_or_default()));
    }
    if let Some(lines) = &args.lines {
        let count = lines.parse::<u32>().map_err(|_| {
            format!("{}: {lines:?} is no number of lines; write e.g. 100", origins.of("lines"))
        });
        page += &format!("&lines={}", mistakes.keep(count).unwrap_or_default());
    }
    mistakes.are_none().then_some(page)
}

fn check_event(text: &str) -> Result<(), String> {
    let is_id = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_id && text.len() >= EVENT_END_LEN_MIN {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no event id; write one, or at least its last {EVENT_END_LEN_MIN} characters, \
         as log lines show them"
    ))
}

fn unix_ns_before(time: Duration) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(time).as_nanos()
}

/// Until the end, or until nobody reads any more. Empty lines only say that there is nothing.
fn copy_lines(body: &mut impl BufRead, name: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        match body.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) if line == b"\n" => continue,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => return Err(Failure::failed(format!("the log of {name} broke off: {e}"))),
        }
        match stdout.write_all(&line).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(e) => return Err(Failure::failed(format!("the log cannot be written: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_event_is_named_by_the_end_of_its_id() {
        assert_eq!(check_event("0000002a"), Ok(()));
        assert_eq!(check_event("0a1b2c3d-0000-0000-0000-00000000002a"), Ok(()));
        expect![[r#""2a" is no event id; write one, or at least its last 8 characters, as log lines show them"#]]
            .assert_eq(&check_event("2a").unwrap_err());
        assert!(check_event("0000&a=b").is_err());
    }
}
