//! Decides about cross-origin requests with nuclio's settings, and renders what a browser is told.
//!
//! Pure. Everything but a reflected origin is rendered once, when the settings are read. Unlike
//! nuclio, a request without `Origin` (curl, another service) is not held to the list, and an
//! origin outside the list gets 403 instead of an empty 200.

use super::parse::{Head, Span, is_token_byte};
use super::respond::{Asker, DateCache, Promise, ResponseHead, write_head};

/// The `cors` attributes of an http trigger, with nuclio's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsSettings {
    /// `*` allows every origin.
    pub allow_origins: Vec<String>,
    pub allow_methods: Vec<String>,
    pub allow_headers: Vec<String>,
    pub allow_credentials: bool,
    pub expose_headers: Vec<String>,
    /// The method that asks; while CORS is on, handlers do not see its preflight requests.
    pub preflight_request_method: String,
    /// -1 forbids browsers to remember the answer.
    pub preflight_max_age_s: i64,
}

impl Default for CorsSettings {
    fn default() -> Self {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CorsSettings {
            allow_origins: list(&["*"]),
            allow_methods: list(&["HEAD", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
            allow_headers: list(&[
                "Accept",
                "Content-Length",
                "Content-Type",
                "Authorization",
                "X-Nuclio-Log-Level",
            ]),
            allow_credentials: false,
            expose_headers: Vec::new(),
            preflight_request_method: "OPTIONS".to_owned(),
            preflight_max_age_s: 5,
        }
    }
}

/// A setting that cannot be put into a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsFault {
    /// Name in function.yaml, below `attributes.cors`.
    pub setting: &'static str,
    pub value: String,
    pub problem: &'static str,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorsVerdict {
    /// Give it to the handler; the reply gets the lines of this grant.
    Call(Grant),
    /// Answer with [`Cors::write_preflight`].
    Preflight,
    /// Answer 400 with [`Cors::write_bad_preflight`].
    BadPreflight,
    /// Answer 403; the handler is not called.
    Forbidden,
}

/// Which lines a reply gets; small enough to keep with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Known beforehand: [`Cors::lines`].
    Fixed(u16),
    /// Any origin with credentials: the origin must be repeated, so [`Cors::append_reflected`]
    /// renders the lines while the request's head is still there.
    Reflect,
}

/// Settings, ready to decide.
#[derive(Debug)]
pub struct Cors {
    any_origin: bool,
    reflects: bool,
    /// Lower case, in the order of the settings.
    origins: Vec<Box<[u8]>>,
    /// 0: for a request without origin, or any origin; then one for each of `origins`.
    lines: Vec<Box<[u8]>>,
    methods: Vec<Box<[u8]>>,
    headers: Vec<Box<[u8]>>,
    preflight_method: Box<[u8]>,
    /// What follows `Access-Control-Allow-Origin` in replies and in preflight answers.
    reply_tail: Box<[u8]>,
    preflight_tail: Box<[u8]>,
}

const ALLOW_ORIGIN: &[u8] = b"Access-Control-Allow-Origin: ";
const ALLOW_CREDENTIALS: &[u8] = b"Access-Control-Allow-Credentials: true\r\n";
const VARY_ORIGIN: &[u8] = b"Vary: Origin\r\n";
const VARY_PREFLIGHT: &[u8] =
    b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n";

impl Cors {
    pub fn new(settings: &CorsSettings) -> Result<Cors, CorsFault> {
        check(settings)?;
        let any_origin = settings.allow_origins.iter().any(|origin| origin == "*");
        let reflects = any_origin && settings.allow_credentials;
        let mut reply_tail = Vec::new();
        if settings.allow_credentials {
            reply_tail.extend_from_slice(ALLOW_CREDENTIALS);
        }
        append_list(&mut reply_tail, b"Access-Control-Expose-Headers: ", &settings.expose_headers);
        let mut preflight_tail = Vec::new();
        if settings.allow_credentials {
            preflight_tail.extend_from_slice(ALLOW_CREDENTIALS);
        }
        preflight_tail.extend_from_slice(b"Access-Control-Max-Age: ");
        preflight_tail.extend_from_slice(settings.preflight_max_age_s.to_string().as_bytes());
        preflight_tail.extend_from_slice(b"\r\n");
        append_list(
            &mut preflight_tail,
            b"Access-Control-Allow-Methods: ",
            &settings.allow_methods,
        );
        append_list(
            &mut preflight_tail,
            b"Access-Control-Allow-Headers: ",
            &settings.allow_headers,
        );
        let mut cors = Cors {
            any_origin,
            reflects,
            origins: settings.allow_origins.iter().map(|o| lower(o)).collect(),
            lines: Vec::new(),
            methods: settings.allow_methods.iter().map(|text| boxed(text)).collect(),
            headers: settings.allow_headers.iter().map(|text| boxed(text)).collect(),
            preflight_method: boxed(&settings.preflight_request_method),
            reply_tail: reply_tail.into(),
            preflight_tail: preflight_tail.into(),
        };
        cors.lines = cors.render_lines();
        Ok(cors)
    }

    fn render_lines(&self) -> Vec<Box<[u8]>> {
        let mut unasked = Vec::new();
        if self.any_origin && !self.reflects {
            self.append_reply(&mut unasked, b"*");
        } else {
            // A cache must not give this reply to a page that asks with an origin.
            unasked.extend_from_slice(VARY_ORIGIN);
        }
        let asked = self.origins.iter().map(|origin| {
            let mut lines = Vec::new();
            self.append_reply(&mut lines, origin);
            lines.into_boxed_slice()
        });
        std::iter::once(unasked.into_boxed_slice()).chain(asked).collect()
    }

    /// `buf` is the buffer `head` was parsed from.
    pub fn decide(&self, head: &Head, buf: &[u8]) -> CorsVerdict {
        let method = head.method_span.of(buf);
        if *method == *self.preflight_method
            && let Some(wanted) = head.access_control_request_method
            && !wanted.is_empty()
        {
            let allowed = self.allows_preflight(head, buf, wanted);
            return if allowed { CorsVerdict::Preflight } else { CorsVerdict::BadPreflight };
        }
        let Some(origin) = head.origin else {
            return CorsVerdict::Call(Grant::Fixed(0));
        };
        match self.grant(origin.of(buf)) {
            Some(grant) => CorsVerdict::Call(grant),
            None => CorsVerdict::Forbidden,
        }
    }

    /// Lines for `ResponseHead::cors_lines`; empty for `Grant::Reflect`.
    pub fn lines(&self, grant: Grant) -> &[u8] {
        match grant {
            Grant::Fixed(index) => self.lines.get(index as usize).map_or(&[], |lines| lines),
            Grant::Reflect => &[],
        }
    }

    /// Renders the lines of `Grant::Reflect`. `origin` is a value of a parsed head.
    pub fn append_reflected(&self, out: &mut Vec<u8>, origin: &[u8]) {
        self.append_reply(out, origin);
    }

    /// Appends the 200 that lets the browser send the request it asked about.
    pub fn write_preflight(
        &self,
        out: &mut Vec<u8>,
        origin: &[u8],
        asker: Asker,
        date: &DateCache,
    ) -> Promise {
        let mut lines = Vec::with_capacity(512);
        lines.extend_from_slice(VARY_PREFLIGHT);
        lines.extend_from_slice(ALLOW_ORIGIN);
        lines.extend_from_slice(if self.any_origin && !self.reflects { b"*" } else { origin });
        lines.extend_from_slice(b"\r\n");
        lines.extend_from_slice(&self.preflight_tail);
        write_head(out, &ResponseHead { cors_lines: &lines, ..ResponseHead::new(200, asker, date) })
    }

    /// Appends the 400 for a preflight about something that is not allowed.
    pub fn write_bad_preflight(
        &self,
        out: &mut Vec<u8>,
        asker: Asker,
        date: &DateCache,
    ) -> Promise {
        let head = ResponseHead::new(400, asker, date);
        write_head(out, &ResponseHead { cors_lines: VARY_PREFLIGHT, ..head })
    }

    fn allows_preflight(&self, head: &Head, buf: &[u8], wanted: Span) -> bool {
        let origin_allowed = head.origin.is_some_and(|o| self.grant(o.of(buf)).is_some());
        let method = wanted.of(buf);
        let method_allowed = *method == *self.preflight_method || contains(&self.methods, method);
        let headers = head.access_control_request_headers.map_or(&b""[..], |span| span.of(buf));
        let headers_allowed = headers
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .all(|name| name.is_empty() || contains(&self.headers, name));
        origin_allowed && method_allowed && headers_allowed
    }

    fn grant(&self, origin: &[u8]) -> Option<Grant> {
        if origin.is_empty() {
            return None;
        }
        if self.any_origin {
            return Some(if self.reflects { Grant::Reflect } else { Grant::Fixed(0) });
        }
        let index = self.origins.iter().position(|o| o.eq_ignore_ascii_case(origin))?;
        Some(Grant::Fixed(index as u16 + 1))
    }

    fn append_reply(&self, out: &mut Vec<u8>, origin: &[u8]) {
        if origin != b"*" {
            out.extend_from_slice(VARY_ORIGIN);
        }
        out.extend_from_slice(ALLOW_ORIGIN);
        out.extend_from_slice(origin);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.reply_tail);
    }
}

/// Refuses what could not be written as a header, or could never match.
fn check(settings: &CorsSettings) -> Result<(), CorsFault> {
    let fault = |setting, value: &str, problem| {
        Err(CorsFault { setting, value: value.to_owned(), problem })
    };
    if settings.allow_origins.len() >= u16::MAX as usize {
        return fault("allowOrigins", "", "is longer than 65534 origins; use * or fewer");
    }
    for origin in &settings.allow_origins {
        let printable = !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || origin.contains(',') {
            return fault("allowOrigins", origin, "is not one origin; write https://example.com");
        }
        if origin.ends_with('/') {
            return fault("allowOrigins", origin, "ends with a slash; an origin has no path");
        }
    }
    let tokens = [
        ("allowMethods", &settings.allow_methods[..]),
        ("allowHeaders", &settings.allow_headers),
        ("exposeHeaders", &settings.expose_headers),
        ("preflightRequestMethod", std::slice::from_ref(&settings.preflight_request_method)),
    ];
    for (setting, texts) in tokens {
        let bad = |text: &&String| text.is_empty() || !text.bytes().all(is_token_byte);
        if let Some(text) = texts.iter().find(bad) {
            return fault(setting, text, "is not one name of letters, digits and hyphens");
        }
    }
    Ok(())
}

fn append_list(out: &mut Vec<u8>, start: &[u8], texts: &[String]) {
    if !texts.is_empty() {
        out.extend_from_slice(start);
        out.extend_from_slice(texts.join(", ").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn contains(texts: &[Box<[u8]>], wanted: &[u8]) -> bool {
    texts.iter().any(|text| text.eq_ignore_ascii_case(wanted))
}

fn boxed(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn lower(text: &str) -> Box<[u8]> {
    text.to_ascii_lowercase().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::super::parse::{HeaderTable, Parsed, parse_head};
    use super::*;

    fn listed() -> CorsSettings {
        CorsSettings {
            allow_origins: vec![
                "https://a.example".to_owned(),
                "https://B.example:8443".to_owned(),
            ],
            allow_credentials: true,
            expose_headers: vec!["X-One".to_owned(), "X-Two".to_owned()],
            ..CorsSettings::default()
        }
    }

    fn request(method: &str, lines: &str) -> (Head, Vec<u8>) {
        let text = [method, " / HTTP/1.1\r\nHost: h\r\n", lines, "\r\n"].concat().into_bytes();
        let Parsed::Head(head) = parse_head(&text, &mut HeaderTable::new()) else {
            panic!("{}", text.escape_ascii());
        };
        (head, text)
    }

    fn decide(cors: &Cors, method: &str, lines: &str) -> CorsVerdict {
        let (head, buf) = request(method, lines);
        cors.decide(&head, &buf)
    }

    #[test]
    fn real_requests() {
        let any = Cors::new(&CorsSettings::default()).unwrap();
        let some = Cors::new(&listed()).unwrap();
        let call = |index| CorsVerdict::Call(Grant::Fixed(index));
        let cases = [
            (&any, "", call(0)),
            (&any, "Origin: https://x\r\n", call(0)),
            (&any, "Origin: null\r\n", call(0)),
            (&any, "Origin:\r\n", CorsVerdict::Forbidden),
            (&some, "", call(0)),
            (&some, "Origin: https://a.example\r\n", call(1)),
            (&some, "Origin: https://b.example:8443\r\n", call(2)),
            (&some, "Origin: HTTPS://A.example\r\n", call(1)),
            (&some, "Origin: http://a.example\r\n", CorsVerdict::Forbidden),
            (&some, "Origin: https://a.example:443\r\n", CorsVerdict::Forbidden),
            (&some, "Origin: https://a.example.evil\r\n", CorsVerdict::Forbidden),
            (&some, "Origin: https://evila.example\r\n", CorsVerdict::Forbidden),
            (&some, "Origin: null\r\n", CorsVerdict::Forbidden),
            (&some, "Origin: *\r\n", CorsVerdict::Forbidden),
            (&some, "Origin: https://a.example https://x\r\n", CorsVerdict::Forbidden),
        ];
        for (cors, lines, verdict) in cases {
            assert_eq!(decide(cors, "POST", lines), verdict, "{lines}");
        }
    }

    #[test]
    fn lines_of_replies() {
        let text = |cors: &Cors, grant| String::from_utf8(cors.lines(grant).to_vec()).unwrap();
        let any = Cors::new(&CorsSettings::default()).unwrap();
        assert_eq!(text(&any, Grant::Fixed(0)), "Access-Control-Allow-Origin: *\r\n");
        let some = Cors::new(&listed()).unwrap();
        assert_eq!(text(&some, Grant::Fixed(0)), "Vary: Origin\r\n");
        assert_eq!(
            text(&some, Grant::Fixed(2)),
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://b.example:8443\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Access-Control-Expose-Headers: X-One, X-Two\r\n"
        );
        assert_eq!(text(&some, Grant::Fixed(9)), "");
    }

    #[test]
    fn any_origin_with_credentials_is_repeated() {
        let settings = CorsSettings { allow_credentials: true, ..CorsSettings::default() };
        let cors = Cors::new(&settings).unwrap();
        let lines = "Origin: https://x\r\n";
        assert_eq!(decide(&cors, "GET", lines), CorsVerdict::Call(Grant::Reflect));
        assert_eq!(cors.lines(Grant::Reflect), b"");
        assert_eq!(cors.lines(Grant::Fixed(0)), b"Vary: Origin\r\n");
        let mut out = Vec::new();
        cors.append_reflected(&mut out, b"https://x");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://x\r\n\
             Access-Control-Allow-Credentials: true\r\n"
        );
    }

    #[test]
    fn preflights() {
        let cors = Cors::new(&listed()).unwrap();
        let a = "Origin: https://a.example\r\n";
        let put = "Access-Control-Request-Method: PUT\r\n";
        let headers = |list: &str| ["Access-Control-Request-Headers: ", list, "\r\n"].concat();
        let good = CorsVerdict::Preflight;
        let bad = CorsVerdict::BadPreflight;
        let plain = CorsVerdict::Call(Grant::Fixed(1));
        let cases = [
            ("OPTIONS", [a, put, ""].concat(), good),
            (
                "OPTIONS",
                [a, put, &headers("content-type, ACCEPT,x-nuclio-log-level")].concat(),
                good,
            ),
            ("OPTIONS", [a, put, &headers("")].concat(), good),
            ("OPTIONS", [a, "Access-Control-Request-Method: put\r\n"].concat(), good),
            ("OPTIONS", [a, "Access-Control-Request-Method: OPTIONS\r\n"].concat(), good),
            ("OPTIONS", [a, put, &headers("content-type, x-other")].concat(), bad),
            ("OPTIONS", [a, "Access-Control-Request-Method: PURGE\r\n"].concat(), bad),
            ("OPTIONS", ["Origin: https://x\r\n", put].concat(), bad),
            ("OPTIONS", put.to_owned(), bad),
            // Not a preflight: the handler's own OPTIONS.
            ("OPTIONS", a.to_owned(), plain),
            ("OPTIONS", [a, "Access-Control-Request-Method:\r\n"].concat(), plain),
            ("GET", [a, put].concat(), plain),
        ];
        for (method, lines, verdict) in cases {
            assert_eq!(decide(&cors, method, &lines), verdict, "{lines}");
        }
        let settings = CorsSettings { preflight_request_method: "PURGE".to_owned(), ..listed() };
        let own = Cors::new(&settings).unwrap();
        assert_eq!(decide(&own, "PURGE", &[a, put].concat()), good);
        assert_eq!(decide(&own, "OPTIONS", &[a, put].concat()), plain);
    }

    #[test]
    fn answers_to_preflights() {
        let date = DateCache::new(0);
        let asker = Asker { version_minor: 1, is_head: false, keep_alive: true };
        let answer = |settings: &CorsSettings| {
            let mut out = Vec::new();
            let cors = Cors::new(settings).unwrap();
            let promise = cors.write_preflight(&mut out, b"https://a.example", asker, &date);
            assert!(promise.keep_alive);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            answer(&CorsSettings::default()),
            "HTTP/1.1 200 OK\r\nServer: nuclio\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n\
             Access-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 5\r\n\
             Access-Control-Allow-Methods: HEAD, GET, POST, PUT, DELETE, OPTIONS, PATCH\r\n\
             Access-Control-Allow-Headers: Accept, Content-Length, Content-Type, Authorization, \
             X-Nuclio-Log-Level\r\nContent-Length: 0\r\n\r\n"
        );
        let text = answer(&CorsSettings { preflight_max_age_s: -1, ..listed() });
        assert!(text.contains("Access-Control-Allow-Origin: https://a.example\r\n"), "{text}");
        assert!(text.contains("Access-Control-Allow-Credentials: true\r\n"), "{text}");
        assert!(text.contains("Access-Control-Max-Age: -1\r\n"), "{text}");
        assert!(!text.contains("Expose"), "{text}");

        let mut out = Vec::new();
        Cors::new(&listed()).unwrap().write_bad_preflight(&mut out, asker, &date);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        assert!(text.contains("\r\nVary: Origin, ") && !text.contains("Allow-Origin"), "{text}");
    }

    #[test]
    fn settings_that_cannot_be_sent_are_refused() {
        let one = |text: &str| vec![text.to_owned()];
        let base = CorsSettings::default;
        let origin = |text| CorsSettings { allow_origins: one(text), ..base() };
        let cases = [
            ("allowOrigins", origin("https://a\r\nX: y")),
            ("allowOrigins", origin("https://a, https://b")),
            ("allowOrigins", origin("https://a,https://b")),
            ("allowOrigins", origin("")),
            ("allowOrigins", origin("https://a/")),
            ("allowMethods", CorsSettings { allow_methods: one("GET, PUT"), ..base() }),
            ("allowHeaders", CorsSettings { allow_headers: one("a\nb"), ..base() }),
            ("exposeHeaders", CorsSettings { expose_headers: one(""), ..base() }),
            (
                "preflightRequestMethod",
                CorsSettings { preflight_request_method: String::new(), ..base() },
            ),
        ];
        for (setting, settings) in cases {
            let fault = Cors::new(&settings).unwrap_err();
            assert_eq!(fault.setting, setting);
        }
        let many = CorsSettings { allow_origins: vec!["https://a".to_owned(); 65535], ..base() };
        assert_eq!(Cors::new(&many).unwrap_err().setting, "allowOrigins");
    }
}
