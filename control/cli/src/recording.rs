//! Reads recordings of events: finds them, checks each line before anything is fed, says what is
//! wrong with a file in one sentence.
//!
//! A recording may be a gibibyte: it is read line by line, twice, and never kept.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use spec::limits::{RECORDING_BYTES_MAX, RECORDING_HEAD_BYTES_MAX};
use spec::{RECORDING_VERSION, RecordedEvent, RecordingEnd, RecordingHead, RecordingLine};

use crate::locate::Surroundings;
use crate::registry;

/// The kind of trigger whose events can be fed again.
const KIND: &str = "http";
/// The longest path of a recording in the registry.
const PATH_BYTES_MAX: u64 = 4096;
/// The end of an event's id must have this many characters to name one event.
const EVENT_END_LEN_MIN: usize = 8;

/// A recording of which every line was found good.
#[derive(Debug)]
pub struct Recording {
    pub path: PathBuf,
    /// The path as the user would write it.
    pub shown: String,
    pub head: RecordingHead,
    /// The only event wanted; none wants all.
    pub only: Option<String>,
    /// Events to be fed.
    pub events: u64,
    /// Their recorded statuses by id.
    pub statuses: HashMap<String, u16>,
    pub missing: u64,
    /// Its last line; none of one whose processor still runs or was killed.
    pub end: Option<RecordingEnd>,
}

/// Refuses, before anything is started, a file that the processor would refuse.
pub fn check_new(path: &str, around: &Surroundings) -> Result<(), String> {
    let file = around.absolute(Path::new(path));
    match file.metadata() {
        Ok(found) if found.is_dir() => Err(format!("{path} is a folder; name a file in it")),
        Ok(found) if found.is_file() && found.len() > 0 => Err(format!(
            "{path} exists already and is not overwritten; remove it, or write another name"
        )),
        Ok(_) => Ok(()),
        Err(_) => match file.parent() {
            Some(folder) if !folder.is_dir() => {
                Err(format!("{path}: there is no folder {}", around.shown(folder)))
            }
            _ => Ok(()),
        },
    }
}

/// The recording that the user means: a file, or an event in the last recording of a function of
/// the namespace.
pub fn find(target: &str, namespace: &str, around: &Surroundings) -> Result<Recording, String> {
    let path = around.absolute(Path::new(target));
    if path.exists() || !is_event_id(target) {
        return check(path, target.to_owned(), None);
    }
    let mut found: Option<Recording> = None;
    let mut searched = Vec::new();
    for path in recordings(namespace, around)? {
        let shown = around.shown(&path);
        // Other files of that name may be there by now.
        let Ok(recording) = check(path, shown.clone(), Some(target)) else { continue };
        searched.push(shown);
        if recording.events == 0 {
            continue;
        }
        if recording.events > 1 || found.is_some() {
            return Err(format!(
                "{target}: several recorded events end in this; write more of the id, or name the \
                 FILE"
            ));
        }
        found = Some(recording);
    }
    found.ok_or_else(|| match &searched[..] {
        [] => format!(
            "{target}: there is no such file, and no recording of a function in namespace \
             {namespace} to find such an event in; record with: nuclio run --record FILE"
        ),
        searched => format!(
            "{target}: there is no such file, and no event whose id ends in this in {}",
            searched.join(", ")
        ),
    })
}

fn is_event_id(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    text.len() >= EVENT_END_LEN_MIN && text.bytes().all(is_part)
}

/// The last recording of each function of a namespace.
fn recordings(namespace: &str, around: &Surroundings) -> Result<Vec<PathBuf>, String> {
    let folder = registry::folder(around)?;
    let mut paths = Vec::new();
    for name in registry::names(&folder, namespace) {
        let pointer = registry::folder_of(&folder, namespace, &name).join("recording");
        let mut path = Vec::new();
        let read = File::open(pointer).and_then(|f| f.take(PATH_BYTES_MAX).read_to_end(&mut path));
        if read.is_ok() {
            paths.push(PathBuf::from(std::ffi::OsStr::from_bytes(&path)));
        }
    }
    paths.dedup();
    Ok(paths)
}

/// Reads all of a recording and finds every line good, or says what is wrong with the first that is
/// not.
pub fn check(path: PathBuf, shown: String, only: Option<&str>) -> Result<Recording, String> {
    let told = |problem: String| format!("{shown}: {problem}");
    let mut lines = Lines::open(&path).map_err(&told)?;
    let head = lines.head().map_err(&told)?;
    let mut recording = Recording {
        path,
        shown: shown.clone(),
        head,
        only: only.map(str::to_owned),
        events: 0,
        statuses: HashMap::new(),
        missing: 0,
        end: None,
    };
    while let Some(line) = lines.next().map_err(&told)? {
        let number = lines.number;
        let wrong = |problem: String| told(format!("line {number}: {problem}"));
        if recording.end.is_some() {
            return Err(wrong("stands behind the line that ends the recording".into()));
        }
        match line {
            RecordingLine::Recording(_) => {
                return Err(wrong("begins another recording; keep each in its own file".into()));
            }
            RecordingLine::Event(event) => {
                check_event(&event).map_err(wrong)?;
                recording.events += u64::from(recording.wants(&event.id));
            }
            RecordingLine::Answer(answer) if recording.wants(&answer.id) => {
                recording.statuses.insert(answer.id, answer.status);
            }
            RecordingLine::Answer(_) => {}
            RecordingLine::Missing(count) => recording.missing += count,
            RecordingLine::End(end) => recording.end = Some(end),
        }
    }
    Ok(recording)
}

impl Recording {
    fn wants(&self, id: &str) -> bool {
        self.only.as_deref().is_none_or(|only| id.ends_with(only))
    }

    /// Gives each event that is wanted to `feed`, in order, until that says stop. No more than were
    /// checked, where a processor still writes.
    pub fn each(&self, mut feed: impl FnMut(&RecordedEvent) -> bool) -> Result<(), String> {
        let told = |problem: String| format!("{}: {problem}", self.shown);
        let mut lines = Lines::open(&self.path).map_err(told)?;
        lines.head().map_err(told)?;
        let mut left = self.events;
        while left > 0 {
            match lines.next().map_err(told)? {
                None => return Err(told("has become shorter meanwhile".into())),
                Some(RecordingLine::Event(event)) if self.wants(&event.id) => {
                    left -= 1;
                    if !feed(&event) {
                        return Ok(());
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn check_event(event: &RecordedEvent) -> Result<(), String> {
    if event.kind != KIND {
        return Err(format!(
            "an event of kind {} cannot be replayed by this version of nuclio, only {KIND}",
            event.kind
        ));
    }
    let lines = || std::iter::once(&event.request).chain(&event.headers);
    if lines().any(|line| line.0.iter().any(|byte| matches!(byte, b'\r' | b'\n'))) {
        return Err("a line of the event's head has a line break in it".into());
    }
    if event.request.0.iter().filter(|byte| **byte == b' ').count() != 2 {
        return Err("request is none; write METHOD TARGET HTTP/1.1".into());
    }
    let body_bytes = event.body.0.len();
    match stated_length(event) {
        _ if is_chunked(event) => Ok(()),
        Some(stated) if stated != body_bytes.to_string() => Err(format!(
            "Content-Length says {stated}, but the body has {body_bytes} bytes; write \
             {body_bytes}"
        )),
        None if body_bytes > 0 => {
            Err(format!("the body has no length; add the header Content-Length: {body_bytes}"))
        }
        _ => Ok(()),
    }
}

/// The values of a header, trimmed.
fn values<'a>(event: &'a RecordedEvent, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    event.headers.iter().filter_map(move |line| {
        let colon = line.0.iter().position(|byte| *byte == b':')?;
        let (found, value) = line.0.split_at(colon);
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

fn stated_length(event: &RecordedEvent) -> Option<String> {
    let value = values(event, "content-length").next()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The body travels in chunks.
pub fn is_chunked(event: &RecordedEvent) -> bool {
    values(event, "transfer-encoding").any(|value| value.eq_ignore_ascii_case(b"chunked"))
}

/// The lines of a file, one at a time.
struct Lines {
    file: BufReader<File>,
    /// Of the line read last; the first has 1.
    number: u64,
    /// Its processor still writes: a line may be half there.
    is_live: bool,
    text: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines, String> {
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                "there is no such file; name one that nuclio run --record has written, or an \
                 event's id"
                    .into()
            }
            _ => format!("cannot be read: {error}"),
        })?;
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Err("is no file; name one that nuclio run --record has written".into());
        }
        let is_live = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        // A processor that begins just now must not find it taken.
        let _ = flock(&file, FlockOperation::Unlock);
        Ok(Lines { file: BufReader::new(file), number: 0, is_live, text: Vec::new() })
    }

    /// The first line.
    fn head(&mut self) -> Result<RecordingHead, String> {
        const FOREIGN: &str = "is no recording of events: name a file that nuclio run --record has \
                               written";
        let is_whole = self.read(RECORDING_HEAD_BYTES_MAX)?;
        if self.text.is_empty() {
            return Err("is empty: nothing was recorded".into());
        }
        if !is_whole && self.text.starts_with(b"{\"recording\"") {
            return Err("is cut off in its first line: there is no event in it".into());
        }
        let line: serde_json::Value = serde_json::from_slice(&self.text).map_err(|_| FOREIGN)?;
        let version = line.get("recording").and_then(|head| head.get("version")).ok_or(FOREIGN)?;
        if *version != serde_json::json!(RECORDING_VERSION) {
            return Err(format!(
                "is written in version {version} of the format, this nuclio reads version \
                 {RECORDING_VERSION}; use the nuclio that wrote it"
            ));
        }
        match serde_json::from_value(line) {
            Ok(RecordingLine::Recording(head)) => Ok(*head),
            Ok(_) => Err(FOREIGN.into()),
            Err(error) => Err(format!("line 1: {error}")),
        }
    }

    fn next(&mut self) -> Result<Option<RecordingLine>, String> {
        let is_whole = self.read(RECORDING_BYTES_MAX)?;
        if self.text.is_empty() || (!is_whole && self.is_live) {
            return Ok(None);
        }
        if !is_whole {
            return Err(format!(
                "is cut off in line {}: its processor was killed, or the file was not copied as a \
                 whole; remove that line to replay the events before it",
                self.number
            ));
        }
        serde_json::from_slice(&self.text)
            .map(Some)
            .map_err(|error| format!("line {} is none of a recording: {error}", self.number))
    }

    /// Reads a line; false if the file ends in it.
    fn read(&mut self, bytes_max: u64) -> Result<bool, String> {
        self.text.clear();
        self.number += 1;
        let read = self.file.by_ref().take(bytes_max).read_until(b'\n', &mut self.text);
        read.map_err(|error| format!("cannot be read: {error}"))?;
        Ok(self.text.ends_with(b"\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::io::Write;

    const HEAD: &str =
        r#"{"recording":{"version":1,"time_unix_ns":1,"namespace":"default","function":{}}}"#;

    fn told(text: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        match check(file.path().to_owned(), "events.jsonl".into(), None) {
            Ok(recording) => format!("{} events, {} missing", recording.events, recording.missing),
            Err(told) => told,
        }
    }

    fn event(more: &str) -> String {
        format!(
            r#"{{"event":{{"id":"a","time_unix_ns":1,"trigger":"w","kind":"http","request":"POST / HTTP/1.1",{more}}}}}"#
        )
    }

    #[test]
    fn what_is_wrong_with_a_file_is_one_sentence() {
        let good = event(r#""headers":["Content-Length: 2"],"body":"hi""#);
        let texts = [
            String::new(),
            "def handler(context, event):\n".into(),
            "{\"a\": 1}\n".into(),
            HEAD.replace(":1,", ":2,") + "\n",
            HEAD[..40].into(),
            format!("{HEAD}\n{good}\n{}", &good[..50]),
            format!("{HEAD}\n{good}\n{{\"other\":1}}\n"),
            format!("{HEAD}\n{HEAD}\n"),
            format!("{HEAD}\n{}\n", event(r#""headers":["content-length:3"],"body":"hi""#)),
            format!("{HEAD}\n{}\n", event(r#""headers":[],"body":"hi""#)),
            format!("{HEAD}\n{}\n", event(r#""headers":["A: b\r\nC: d"]"#)),
            format!("{HEAD}\n{}\n", good.replace("\"http\"", "\"kafka\"")),
            format!("{HEAD}\n{}\n", good.replace("POST / ", "POST ")),
            format!("{HEAD}\n{}\n", event(r#""headers":[],"body":{"base64":"?"}"#)),
            format!("{HEAD}\n{good}\n{{\"missing\":3}}\n"),
        ];
        let told: Vec<String> = texts.iter().map(|text| told(text)).collect();
        expect![[r#"
            events.jsonl: is empty: nothing was recorded
            events.jsonl: is no recording of events: name a file that nuclio run --record has written
            events.jsonl: is no recording of events: name a file that nuclio run --record has written
            events.jsonl: is written in version 2 of the format, this nuclio reads version 1; use the nuclio that wrote it
            events.jsonl: is cut off in its first line: there is no event in it
            events.jsonl: is cut off in line 3: its processor was killed, or the file was not copied as a whole; remove that line to replay the events before it
            events.jsonl: line 3 is none of a recording: unknown variant `other`, expected one of `recording`, `event`, `answer`, `missing`, `end` at line 1 column 8
            events.jsonl: line 2: begins another recording; keep each in its own file
            events.jsonl: line 2: Content-Length says 3, but the body has 2 bytes; write 2
            events.jsonl: line 2: the body has no length; add the header Content-Length: 2
            events.jsonl: line 2: a line of the event's head has a line break in it
            events.jsonl: line 2: an event of kind kafka cannot be replayed by this version of nuclio, only http
            events.jsonl: line 2: request is none; write METHOD TARGET HTTP/1.1
            events.jsonl: line 2 is none of a recording: Invalid symbol 63, offset 0. at line 1 column 127
            1 events, 3 missing"#]].assert_eq(&told.join("\n"));
    }

    #[test]
    fn an_id_is_told_from_a_file() {
        assert!(is_event_id("0000002a") && is_event_id("0a1b2c3d-0000-0000-0000-00000000002a"));
        assert!(!is_event_id("2a") && !is_event_id("events.jsonl") && !is_event_id("deadbeef.js"));
    }
}
