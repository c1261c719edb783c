//! What a handler may return.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::Error;

/// An answer: status, headers, body.
#[derive(Debug, Clone)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: u8,
    pub(crate) headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Bytes(Cow<'static, [u8]>),
    PartOfEvent(Range<usize>),
}

const NONE: u8 = 0;
const TEXT: u8 = 1;
const JSON: u8 = 2;
const BYTES: u8 = 3;
const HTML: u8 = 4;

impl Response {
    fn of(content_type: u8, body: Body) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body }
    }

    /// 200 with no body.
    pub fn empty() -> Self {
        Self::of(TEXT, Body::Bytes(Cow::Borrowed(b"")))
    }

    /// text/plain
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(TEXT, Body::Bytes(bytes_of(text.into())))
    }

    /// text/html
    pub fn html(text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(HTML, Body::Bytes(bytes_of(text.into())))
    }

    /// application/json; the text is sent as it is.
    pub fn json(text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(JSON, Body::Bytes(bytes_of(text.into())))
    }

    /// application/octet-stream
    pub fn bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self::of(BYTES, Body::Bytes(bytes.into()))
    }

    /// A part of the event's own body, sent from where it is: nothing is copied. A range beyond the
    /// body is a failed event.
    pub fn part_of_body(range: Range<usize>) -> Self {
        Self::of(BYTES, Body::PartOfEvent(range))
    }

    /// With another status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With one more header; the same name twice is sent twice. `Content-Type` replaces the type.
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        let name = name.into();
        if name.eq_ignore_ascii_case("content-type") {
            self.content_type = NONE;
            self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case("content-type"));
        }
        self.headers.push((name, value.into()));
        self
    }
}

fn bytes_of(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// What can be returned from a handler.
pub trait IntoReply {
    /// The answer, or why there is none.
    fn into_reply(self) -> Result<Response, Error>;
}

impl IntoReply for Response {
    fn into_reply(self) -> Result<Response, Error> {
        Ok(self)
    }
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Response, Error> {
        Ok(Response::empty())
    }
}

impl IntoReply for &'static str {
    fn into_reply(self) -> Result<Response, Error> {
        Ok(Response::text(self))
    }
}

impl IntoReply for String {
    fn into_reply(self) -> Result<Response, Error> {
        Ok(Response::text(self))
    }
}

impl IntoReply for Vec<u8> {
    fn into_reply(self) -> Result<Response, Error> {
        Ok(Response::bytes(self))
    }
}

/// A status before anything else.
impl<R: IntoReply> IntoReply for (u16, R) {
    fn into_reply(self) -> Result<Response, Error> {
        Ok(self.1.into_reply()?.with_status(self.0))
    }
}

impl<R: IntoReply, E: Into<Error>> IntoReply for Result<R, E> {
    fn into_reply(self) -> Result<Response, Error> {
        self.map_err(Into::into)?.into_reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_replaces_the_former_one() {
        let reply = Response::text("x")
            .with_header("content-type", "a/b")
            .with_header("Content-Type", "c/d")
            .with_header("X-A", "1")
            .with_header("X-A", "2");
        assert_eq!(reply.content_type, NONE);
        let names: Vec<_> = reply.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["Content-Type", "X-A", "X-A"]);
    }

    #[test]
    fn errors_tell_their_causes() {
        let failed: Result<(), std::num::ParseIntError> = "x".parse::<u8>().map(|_| ());
        let error = failed.into_reply().unwrap_err();
        assert_eq!((error.status, &*error.text), (500, "invalid digit found in string"));
        assert_eq!((404, "gone").into_reply().unwrap().status, 404);
    }
}
