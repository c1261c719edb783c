//! `GET /api/logs`: the last log records, and those to come for who follows.
//!
//! A reader's place in the sequence is all that is kept of it, so a slow one costs nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::watch;

use super::Source;
use crate::log::history::{EVENT_END_LEN_MIN, Wanted};
use crate::log::{Format, Level, LogConfig, Record, write_record};

/// An empty line is sent to a follower this often, so that neither side takes the other for dead.
const EMPTY_LINE_EVERY: Duration = Duration::from_secs(10);

/// `?event=END-OF-ID&since=UNIX-NS&lines=N&follow=1&form=people|json&colour=1`
pub async fn page(State(source): State<Arc<Source>>, uri: Uri) -> Response {
    let asked = match Asked::read(uri.query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(problem) => return (StatusCode::BAD_REQUEST, problem).into_response(),
    };
    let history = source.log.history();
    let newest = history.follow();
    let (place, end) = history.last(asked.lines, &asked.wanted);
    let config = LogConfig {
        function: source.function.as_str().into(),
        format: asked.format,
        level: Level::Debug,
        colour: asked.colour,
    };
    let end = (!asked.follow).then_some(end);
    let reader = Reader { source, wanted: asked.wanted, config, newest, place, end };
    Body::from_stream(Pieces::of(reader)).into_response()
}

struct Asked {
    wanted: Wanted,
    lines: usize,
    follow: bool,
    format: Format,
    colour: bool,
}

impl Asked {
    fn read(query: &str) -> Result<Asked, String> {
        let mut asked = Asked {
            wanted: Wanted::default(),
            lines: usize::MAX,
            follow: false,
            format: Format::Json,
            colour: false,
        };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = || value.parse().map_err(|_| format!("{key}: {value:?} is no number"));
            match key {
                "event" if value.len() < EVENT_END_LEN_MIN => {
                    return Err(format!(
                        "event: {value:?} has less than {EVENT_END_LEN_MIN} characters"
                    ));
                }
                "event" => asked.wanted.event = value.as_bytes().to_vec(),
                "since" => asked.wanted.since_ns = number()?,
                "lines" => asked.lines = number()? as usize,
                "follow" => asked.follow = value == "1",
                "form" if value == "people" => asked.format = Format::People,
                "colour" => asked.colour = value == "1",
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// One who reads along.
struct Reader {
    source: Arc<Source>,
    wanted: Wanted,
    config: LogConfig,
    newest: watch::Receiver<u64>,
    place: u64,
    /// Where to stop; none follows.
    end: Option<u64>,
}

impl Reader {
    /// The next text to send; none at the end.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.end.is_some_and(|end| self.place >= end) {
                return None;
            }
            self.newest.mark_unchanged();
            let taken = self.source.log.history().take(self.place);
            if taken.records.is_empty() {
                match tokio::time::timeout(EMPTY_LINE_EVERY, self.newest.changed()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(b"\n".to_vec()),
                }
            }
            self.place = taken.next;
            let mut text = Vec::new();
            if taken.lost > 0 {
                let line = format!("{} log records are missing here: read too late", taken.lost);
                write_record(&mut text, &self.config, &Record::new(Level::Warn, line));
            }
            for record in taken.records.iter().filter(|record| self.wanted.wants(record)) {
                write_record(&mut text, &self.config, record);
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
    }
}

type Piece = Pin<Box<dyn Future<Output = Option<(Vec<u8>, Reader)>> + Send>>;

/// The pieces of a reader as a body.
struct Pieces(Option<Piece>);

impl Pieces {
    fn of(mut reader: Reader) -> Pieces {
        let piece = async move { reader.piece().await.map(|text| (text, reader)) };
        Pieces(Some(Box::pin(piece)))
    }
}

impl Stream for Pieces {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(piece) = &mut self.0 else { return Poll::Ready(None) };
        let Poll::Ready(done) = piece.as_mut().poll(context) else { return Poll::Pending };
        let (text, rest) = done.map(|(text, reader)| (Ok(text), Pieces::of(reader))).unzip();
        self.0 = rest.and_then(|pieces| pieces.0);
        Poll::Ready(text)
    }
}
