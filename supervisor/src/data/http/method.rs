//! The request method as a number that fits the event header, and what RFC 9110 says about it.
//!
//! The numbers cross into workers, so they never change and are never given away again.

/// A request method. `Other` keeps no text: the token stays in the head, at `Head::method_span`.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get = 1,
    Head = 2,
    Post = 3,
    Put = 4,
    Delete = 5,
    Options = 6,
    Patch = 7,
    Trace = 8,
    Connect = 9,
    Other = 255,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110, 9.1): `get` is not `GET`, it is somebody's own method.
    #[inline]
    pub fn from_token(token: &[u8]) -> Method {
        match token {
            b"GET" => Method::Get,
            b"POST" => Method::Post,
            b"HEAD" => Method::Head,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// The inverse of `as u8`; `None` for numbers nobody was given.
    pub fn from_number(number: u8) -> Option<Method> {
        Some(match number {
            1 => Method::Get,
            2 => Method::Head,
            3 => Method::Post,
            4 => Method::Put,
            5 => Method::Delete,
            6 => Method::Options,
            7 => Method::Patch,
            8 => Method::Trace,
            9 => Method::Connect,
            255 => Method::Other,
            _ => return None,
        })
    }

    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The token, or an empty text for `Other`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Trace => "TRACE",
            Method::Connect => "CONNECT",
            Method::Other => "",
        }
    }

    /// May the same request be sent twice without harm (RFC 9110, 9.2.2)? Decides whether an event
    /// is given to a second worker after the first one died with it.
    pub const fn is_idempotent(self) -> bool {
        match self {
            Method::Get
            | Method::Head
            | Method::Put
            | Method::Delete
            | Method::Options
            | Method::Trace => true,
            Method::Post | Method::Patch | Method::Connect | Method::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    const ALL: [(Method, u8, &str, bool); 9] = [
        (Method::Get, 1, "GET", true),
        (Method::Head, 2, "HEAD", true),
        (Method::Post, 3, "POST", false),
        (Method::Put, 4, "PUT", true),
        (Method::Delete, 5, "DELETE", true),
        (Method::Options, 6, "OPTIONS", true),
        (Method::Patch, 7, "PATCH", false),
        (Method::Trace, 8, "TRACE", true),
        (Method::Connect, 9, "CONNECT", false),
    ];

    #[test]
    fn numbers_and_tokens_are_stable() {
        for (method, number, token, idempotent) in ALL {
            assert_eq!(method.number(), number);
            assert_eq!(Method::from_number(number), Some(method));
            assert_eq!(method.as_str(), token);
            assert_eq!(Method::from_token(token.as_bytes()), method);
            assert_eq!(method.is_idempotent(), idempotent, "{token}");
        }
        assert_eq!(Method::Other.number(), 255);
        assert_eq!(Method::from_number(255), Some(Method::Other));
        for number in (0..=254).filter(|n| !(1..=9).contains(n)) {
            assert_eq!(Method::from_number(number), None, "{number}");
        }
    }

    #[test]
    fn tokens_are_case_sensitive() {
        for token in [&b"get"[..], b"Get", b"PURGE", b"", b"GETT", b"GE"] {
            assert_eq!(Method::from_token(token), Method::Other);
        }
        assert!(!Method::Other.is_idempotent());
    }
}
