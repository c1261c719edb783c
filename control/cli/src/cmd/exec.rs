//! `nuclio exec`: sends one event to a function and prints its reply.
//!
//! The body goes to stdout as it is; the status and the event's log lines go to stderr.

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::http::{HeaderName, HeaderValue, Method, Uri, header};

use crate::args::{ExecArgs, Global, Origins, OutputForm, repeated};
use crate::client::{self, Ask, Reply};
use crate::event_log::{self, LEVEL_HEADER, LOGS_HEADER};
use crate::locate::Surroundings;
use crate::near::nearest;
use crate::output::{EXIT_FAILED, EXIT_OK, Failure, Mistakes, note, one_line, stderr_is_coloured};
use crate::{interrupt, names, registry};

/// The largest body sent; what does not fit in memory is no event.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// The first status that is a failure.
const STATUS_FAILED_MIN: u16 = 400;

const LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "none"];

pub fn exec(
    args: &ExecArgs,
    global: &Global,
    origins: &Origins,
    around: &Surroundings,
) -> Result<u8, Failure> {
    interrupt::end_with_130();
    let mut mistakes = Mistakes::default();
    let target = mistakes.keep(read_target(&args.target));
    let told = |long: &str| {
        let from = origins.of(long);
        move |problem: String| format!("{from}: {problem}")
    };
    let method = args.method.as_deref().map(read_method).transpose();
    let method = mistakes.keep(method.map_err(told("method")));
    let level = mistakes.keep(read_level(&args.log_level).map_err(told("log-level")));
    let time_max = mistakes.keep(read_timeout(&args.timeout).map_err(told("timeout")));
    let headers = read_headers(args, around, &mut mistakes);
    let namespace = global.namespace.as_deref().unwrap_or(names::NAMESPACE_DEFAULT);
    mistakes.keep(names::check(&origins.of("namespace"), namespace));
    let body = args.body.as_deref().map(|body| read_body(body, around)).transpose();
    let body = mistakes.keep(body.map_err(told("body")));
    let (Some(target), Some(method), Some(level), Some(time_max), Some(body), true) =
        (target, method, level, time_max, body, mistakes.are_none())
    else {
        return Err(mistakes.into_failure());
    };

    let base = match target {
        Target::Url(url) => url,
        Target::Name(ref name) => url_of(name, namespace, around).map_err(Failure::failed)?,
    };
    let url = with_path(&base, args.path.as_deref()).map_err(Failure::usage)?;
    let ask = Ask {
        method: method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET }),
        headers: all_headers(args, headers, level, body.as_deref()).map_err(Failure::usage)?,
        url: url.clone(),
        body,
        time_max,
    };
    let reply = client::send(ask).map_err(|error| unreachable(args, &url, &error))?;
    let code = if reply.status() >= STATUS_FAILED_MIN { EXIT_FAILED } else { EXIT_OK };
    match global.output {
        OutputForm::Text | OutputForm::Wide => print_for_people(reply, global.verbose)?,
        OutputForm::Json | OutputForm::Yaml => print_document(reply, global.output)?,
    }
    Ok(code)
}

#[derive(Debug, PartialEq)]
enum Target {
    Name(String),
    Url(String),
}

/// Names of functions have neither dots, colons nor slashes; addresses always have one.
fn read_target(text: &str) -> Result<Target, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return match scheme {
            "http" => Ok(Target::Url(text.to_owned())),
            "https" => Err(format!("{text}: https is not supported here; write an http:// URL")),
            other => Err(format!("{text}: {other} is no scheme of a URL; write http://HOST:PORT")),
        };
    }
    if text == "localhost" || text.contains([':', '/', '.']) {
        return Ok(Target::Url(format!("http://{text}")));
    }
    names::check("NAME|URL", text)?;
    Ok(Target::Name(text.to_owned()))
}

fn read_method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_uppercase().as_bytes()).map_err(|_| {
        format!("{text:?} is no HTTP method; write one word, such as GET, POST or DELETE")
    })
}

/// The level to ask for; nothing where no log lines are wanted.
fn read_level(text: &str) -> Result<Option<&'static str>, String> {
    match LEVELS.iter().find(|level| **level == text) {
        Some(&"none") => Ok(None),
        Some(level) => Ok(Some(level)),
        None => Err(match nearest(text, &LEVELS) {
            Some(near) => format!("{text:?} is no level; did you mean {near}?"),
            None => format!("{text:?} is no level; write one of {}", LEVELS.join(", ")),
        }),
    }
}

/// A number alone counts seconds; zero waits for ever.
pub(super) fn read_timeout(text: &str) -> Result<Option<Duration>, String> {
    let time = match text.parse::<u64>() {
        Ok(seconds) => spec::parse_duration(&format!("{seconds}s")),
        Err(_) => spec::parse_duration(text),
    };
    match time {
        Ok(time) => Ok(Some(time).filter(|time| !time.is_zero())),
        Err(problem) => Err(format!("{text:?} {problem}; write a time such as 10s, 500ms or 2m")),
    }
}

fn read_headers(
    args: &ExecArgs,
    around: &Surroundings,
    mistakes: &mut Mistakes,
) -> Vec<(HeaderName, HeaderValue)> {
    let given = repeated(&args.header, around.var("NUCLIO_EXEC_HEADER"));
    let given = mistakes.keep(given.map_err(|problem| format!("NUCLIO_EXEC_HEADER {problem}")));
    let from = if args.header.is_empty() { "NUCLIO_EXEC_HEADER" } else { "--header" };
    let read = given.unwrap_or_default().into_iter().map(|text| read_header(from, &text));
    read.filter_map(|header| mistakes.keep(header)).collect()
}

fn read_header(from: &str, text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = |what: &str| {
        Err(format!("{from}: {text:?} {what}; write it as 'Name: value', such as 'X-User: ada'"))
    };
    let Some((name, value)) = text.split_once(':') else {
        return wrong("has no colon");
    };
    let Ok(name) = HeaderName::from_bytes(name.trim_end().as_bytes()) else {
        return wrong("has a name that no header can have");
    };
    match HeaderValue::from_bytes(value.trim().as_bytes()) {
        Ok(value) => Ok((name, value)),
        Err(_) => wrong("has a value with control characters"),
    }
}

fn read_body(text: &str, around: &Surroundings) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let (name, read) = if text == "-" {
        ("stdin", std::io::stdin().take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes))
    } else if let Some(file) = text.strip_prefix('@') {
        let open = std::fs::File::open(around.absolute(Path::new(file)));
        (file, open.and_then(|file| file.take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes)))
    } else {
        return Ok(text.as_bytes().to_vec());
    };
    match read {
        Err(e) if e.kind() == ErrorKind::NotFound => Err(format!(
            "there is no file {name}; write @FILE for a file's bytes, or the text itself"
        )),
        Err(e) => Err(format!("{name} cannot be read: {e}")),
        Ok(_) if bytes.len() as u64 > BODY_BYTES_MAX => {
            Err(format!("{name} has more than {BODY_BYTES_MAX} bytes; send a smaller body"))
        }
        Ok(_) => Ok(bytes),
    }
}

fn url_of(name: &str, namespace: &str, around: &Surroundings) -> Result<String, String> {
    let running = registry::find(&registry::folder(around)?, namespace, name)?;
    running.url.ok_or_else(|| {
        format!("the function {name} runs (pid {}) but has no HTTP trigger to call", running.pid)
    })
}

/// Adds the path, escaping what cannot stand in a URL, such as spaces and letters with accents.
fn with_path(base: &str, path: Option<&str>) -> Result<Uri, String> {
    let mut url = base.to_owned();
    if let Some(path) = path {
        let slash = if path.starts_with(['/', '?']) { "" } else { "/" };
        url = format!("{}{slash}{path}", base.trim_end_matches('/'));
    }
    let mut escaped = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            0x21..=0x7e if !b"\"<>\\^`{|}".contains(&byte) => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty())).ok_or(
        format!("{} is no URL; write http://HOST:PORT/PATH, or a function's name", one_line(&url)),
    )
}

/// The flags' headers, and those that follow from other flags unless given by hand.
fn all_headers(
    args: &ExecArgs,
    mut headers: Vec<(HeaderName, HeaderValue)>,
    level: Option<&'static str>,
    body: Option<&[u8]>,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let has = |name: &HeaderName, headers: &[(HeaderName, HeaderValue)]| {
        headers.iter().any(|(other, _)| other == name)
    };
    let content_type = match (&args.content_type, body) {
        (Some(given), _) => Some(HeaderValue::from_bytes(given.as_bytes()).map_err(|_| {
            format!("--content-type: {given:?} has control characters; write e.g. text/plain")
        })?),
        (None, Some(body)) if !has(&header::CONTENT_TYPE, &headers) => {
            Some(HeaderValue::from_static(content_type_of(body)))
        }
        (None, _) => None,
    };
    headers.extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
    let level_header = HeaderName::from_static(LEVEL_HEADER);
    if let (Some(level), false) = (level, has(&level_header, &headers)) {
        headers.push((level_header, HeaderValue::from_static(level)));
    }
    Ok(headers)
}

fn content_type_of(body: &[u8]) -> &'static str {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(_) | Value::Array(_)) => "application/json",
        _ if std::str::from_utf8(body).is_ok() => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn unreachable(args: &ExecArgs, url: &Uri, error: &ureq::Error) -> Failure {
    let server = url.authority().map_or("", |authority| authority.as_str());
    let who = match read_target(&args.target) {
        Ok(Target::Name(name)) => format!("the function {name} at {server}"),
        _ => server.to_owned(),
    };
    Failure::failed(match error {
        ureq::Error::Timeout(ureq::Timeout::Connect) => {
            format!("{who} cannot be reached: no answer to the connection")
        }
        ureq::Error::Timeout(_) => late(&who, &args.timeout),
        error => format!("{who} {}", client::told(error)),
    })
}

fn late(who: &str, timeout: &str) -> String {
    format!("no whole reply from {who} within {timeout}; wait longer with --timeout, as in -t 5m")
}

fn print_for_people(reply: Reply, verbose: bool) -> Result<(), Failure> {
    note(&reply.status_line());
    if verbose {
        for (name, value) in reply.headers().filter(|(name, _)| *name != LOGS_HEADER) {
            note(&format!("{name}: {}", one_line(&String::from_utf8_lossy(value))));
        }
    }
    let coloured = stderr_is_coloured();
    for record in logs(&reply) {
        note(&event_log::shown(&record, coloured));
    }
    let mut stdout = std::io::stdout();
    let mut last = None;
    let sent = copy(reply.into_body(), &mut stdout, &mut last)?;
    if sent && stdout.is_terminal() && last.is_some_and(|byte| byte != b'\n') {
        let _ = stdout.write_all(b"\n");
    }
    Ok(())
}

/// Copies the body as it comes. False where nobody reads any more, which is no failure.
fn copy(mut body: impl Read, to: &mut impl Write, last: &mut Option<u8>) -> Result<bool, Failure> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken_off(&e)),
        };
        *last = Some(chunk[count - 1]);
        match to.write_all(&chunk[..count]).and_then(|()| to.flush()) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(false),
            Err(e) => return Err(Failure::failed(format!("the reply cannot be written: {e}"))),
        }
    }
    Ok(true)
}

fn broken_off(error: &std::io::Error) -> Failure {
    Failure::failed(match error.kind() {
        _ if client::is_late(error) => {
            "the reply broke off: it took longer than --timeout allows; wait longer, as in -t 5m"
                .into()
        }
        ErrorKind::UnexpectedEof => "the reply broke off: its end is missing".into(),
        _ => format!("the reply broke off: {error}"),
    })
}

fn logs(reply: &Reply) -> Vec<Value> {
    let values = reply.headers().filter(|(name, _)| *name == LOGS_HEADER);
    values.flat_map(|(_, value)| event_log::records(value)).collect()
}

/// `{status, headers, body, logs}`; a body that is no text stands in `body_base64` instead.
fn print_document(reply: Reply, form: OutputForm) -> Result<(), Failure> {
    let mut headers = Map::new();
    for (name, value) in reply.headers().filter(|(name, _)| *name != LOGS_HEADER) {
        let values = headers.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(String::from_utf8_lossy(value).into());
        }
    }
    let (status, logs) = (reply.status(), logs(&reply));
    let mut body = Vec::new();
    let read = reply.into_body().take(BODY_BYTES_MAX).read_to_end(&mut body);
    read.map_err(|e| broken_off(&e))?;
    let mut document = json!({ "status": status, "headers": headers, "logs": logs });
    match String::from_utf8(body) {
        Ok(text) => document["body"] = text.into(),
        Err(e) => document["body_base64"] = base64(e.as_bytes()).into(),
    }
    let mut text = match form {
        OutputForm::Yaml => serde_saphyr::to_string(&document)
            .map_err(|e| Failure::failed(format!("the reply cannot be written as YAML: {e}")))?,
        _ => format!("{document:#}"),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    copy(text.as_bytes(), &mut std::io::stdout(), &mut None).map(|_| ())
}

/// Base64 with padding, RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let six = (bits >> (18 - 6 * index)) & 63;
            text.push(if index <= group.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_target_is_a_name_or_a_url() {
        let name = |text: &str| Ok(Target::Name(text.into()));
        let url = |text: &str| Ok(Target::Url(text.into()));
        assert_eq!(read_target("hello"), name("hello"));
        assert_eq!(read_target("http://h:1/x"), url("http://h:1/x"));
        assert_eq!(read_target("127.0.0.1:8080"), url("http://127.0.0.1:8080"));
        assert_eq!(read_target("localhost"), url("http://localhost"));
        let told = ["https://h", "ftp://h", "Hello"].map(|t| read_target(t).unwrap_err());
        expect![[r#"
            https://h: https is not supported here; write an http:// URL
            ftp://h: ftp is no scheme of a URL; write http://HOST:PORT
            NAME|URL: "Hello" has 'H'; lower-case letters, digits and - are possible; write hello"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn a_path_is_added_and_escaped() {
        let path = |base: &str, path: &str| with_path(base, Some(path)).unwrap().to_string();
        assert_eq!(path("http://h:1", "a b/ż?x=1"), "http://h:1/a%20b/%C5%BC?x=1");
        assert_eq!(path("http://h:1/", "/a%20b"), "http://h:1/a%20b");
        assert_eq!(path("http://h:1/x", "?q=1"), "http://h:1/x?q=1");
        assert!(with_path("http://", None).is_err());
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_to_write() {
        let told = [
            read_method("G ET").unwrap_err(),
            read_level("wran").unwrap_err(),
            read_level("loud").unwrap_err(),
            read_timeout("5 minutes").unwrap_err(),
            read_timeout("-1s").unwrap_err(),
            read_header("--header", "nocolon").unwrap_err(),
            read_header("--header", "a b: c").unwrap_err(),
            read_header("--header", "a: b\nc").unwrap_err(),
        ];
        expect![[r#"
            "G ET" is no HTTP method; write one word, such as GET, POST or DELETE
            "wran" is no level; did you mean warn?
            "loud" is no level; write one of debug, info, warn, error, none
            "5 minutes" has the unknown unit " minutes"; write a time such as 10s, 500ms or 2m
            "-1s" is negative; write a time such as 10s, 500ms or 2m
            --header: "nocolon" has no colon; write it as 'Name: value', such as 'X-User: ada'
            --header: "a b: c" has a name that no header can have; write it as 'Name: value', such as 'X-User: ada'
            --header: "a: b\nc" has a value with control characters; write it as 'Name: value', such as 'X-User: ada'"#]]
        .assert_eq(&told.join("\n"));
        assert_eq!(read_timeout("0"), Ok(None));
        assert_eq!(read_timeout("7"), Ok(Some(Duration::from_secs(7))));
        assert_eq!(read_timeout("1m30s"), Ok(Some(Duration::from_secs(90))));
    }

    #[test]
    fn the_content_type_follows_from_the_body() {
        let types =
            [&b"{\"a\":1}"[..], b"[1]", b"12", b"hi", b"", b"\xff\xd8"].map(content_type_of);
        expect![[r#"
            application/json
            application/json
            text/plain; charset=utf-8
            text/plain; charset=utf-8
            text/plain; charset=utf-8
            application/octet-stream"#]]
        .assert_eq(&types.join("\n"));
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let examples = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let told = examples.map(|text| base64(text.as_bytes())).join(" ");
        assert_eq!(told, " Zg== Zm8= Zm9v Zm9vYg== Zm9vYmE= Zm9vYmFy");
    }
}
