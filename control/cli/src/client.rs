//! Sends one HTTP request and hands back the reply as it is, whatever its status.
//!
//! Follows no redirect, uses no proxy, decodes nothing: what the function said is what is shown.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ureq::{Agent, Body};

/// From this size on the server is asked first whether it takes the body, so that its refusal
/// (413) is heard before it closes the connection.
const EXPECT_BODY_BYTES_MIN: usize = 1024 * 1024;

/// Longest wait for the connection itself; a function on this machine answers within one.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The largest reply head read; above any function's own headers and log lines.
const REPLY_HEAD_BYTES_MAX: usize = 1024 * 1024;

/// What is asked of the function.
#[derive(Debug)]
pub struct Ask {
    pub method: Method,
    pub url: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Option<Vec<u8>>,
    /// From the connection to the last byte of the reply; none waits for ever.
    pub time_max: Option<Duration>,
}

/// What it answered; the body is still on its way.
pub struct Reply {
    response: Response<Body>,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// "HTTP/1.1 200 OK"
    pub fn status_line(&self) -> String {
        let status = self.response.status();
        let reason = status.canonical_reason().unwrap_or_default();
        format!("{:?} {} {reason}", self.response.version(), status.as_u16()).trim_end().to_owned()
    }

    /// Names in lower case, in the order they came, values as the bytes they were.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    pub fn into_body(self) -> impl Read {
        self.response.into_body().into_reader()
    }
}

/// Sends the request and reads the head of the reply.
pub fn send(ask: Ask) -> Result<Reply, ureq::Error> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .user_agent(concat!("nuclio/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(REPLY_HEAD_BYTES_MAX)
        .timeout_connect(Some(CONNECT_TIME_MAX))
        .timeout_global(ask.time_max)
        .build()
        .into();
    let mut request = Request::builder().method(&ask.method).uri(ask.url);
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    let needs_length = matches!(ask.method, Method::POST | Method::PUT | Method::PATCH);
    let response = match ask.body {
        Some(body) => {
            if body.len() >= EXPECT_BODY_BYTES_MIN {
                request = request.header(header::EXPECT, "100-continue");
            }
            agent.run(request.body(body)?)
        }
        None if needs_length => agent.run(request.body(Vec::new())?),
        None => agent.run(request.body(())?),
    };
    response.map(|response| Reply { response })
}

/// Whether an error while the body was read means that the time was up.
pub fn is_late(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    error.kind() == ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_)))
}

/// What went wrong, to stand behind the server's name; timeouts apart.
pub fn told(error: &ureq::Error) -> String {
    let io = match error {
        ureq::Error::Io(io) => io,
        ureq::Error::HostNotFound => return "is no known host".into(),
        ureq::Error::ConnectionFailed => return "cannot be reached".into(),
        ureq::Error::Protocol(problem) => return format!("did not answer with HTTP: {problem}"),
        other => return format!("could not be asked: {other}"),
    };
    match io.kind() {
        ErrorKind::ConnectionRefused => "cannot be reached: connection refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "closed the connection without a whole reply".into()
        }
        _ => format!("cannot be reached: {io}"),
    }
}
