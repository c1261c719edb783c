//! Checks the flags of `nuclio run` that are about the process, not about the function.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::args::{Origins, RunArgs};
use crate::near::nearest;
use crate::output::Mistakes;

pub const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

/// What the processor is told on its command line; what is none it decides itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProcessFlags {
    pub port: Option<u16>,
    pub host: Option<IpAddr>,
    /// A number, or "auto".
    pub workers: Option<String>,
    pub admin: Option<SocketAddr>,
    pub log_level: Option<&'static str>,
}

pub fn check(args: &RunArgs, origins: &Origins, mistakes: &mut Mistakes) -> ProcessFlags {
    let mut read = Reader { origins, mistakes };
    ProcessFlags {
        port: read.flag("port", args.port.as_deref(), port),
        host: read.flag("host", args.host.as_deref(), host),
        workers: read.flag("workers", args.workers.as_deref(), workers),
        admin: read.flag("admin", args.admin.as_deref(), admin),
        log_level: read.flag("log-level", args.log_level.as_deref(), log_level),
    }
}

struct Reader<'a> {
    origins: &'a Origins,
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    fn flag<T>(
        &mut self,
        long: &str,
        text: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let result = read(text?).map_err(|told| format!("{}: {told}", self.origins.of(long)));
        self.mistakes.keep(result)
    }
}

fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        format!("{text:?} is no port; write a number from 1 to 65535, or 0 for a free one")
    })
}

fn host(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    bare(text).parse().map_err(|_| {
        format!("{text:?} is no address; write 127.0.0.1, ::1, or 0.0.0.0 for all of them")
    })
}

fn workers(text: &str) -> Result<String, String> {
    let most = spec::limits::WORKERS_MAX;
    let wrong =
        || format!("{text:?} is no number of workers; write a number from 1 to {most}, or auto");
    if text == "auto" {
        return Ok(text.to_owned());
    }
    let count: u32 = text.parse().map_err(|_| wrong())?;
    if (1..=most).contains(&count) { Ok(count.to_string()) } else { Err(wrong()) }
}

/// Takes `HOST:PORT`, `:PORT` on all addresses, and a port alone on this machine's own.
fn admin(text: &str) -> Result<SocketAddr, String> {
    let wrong =
        || format!("{text:?} is no address; write HOST:PORT, such as 127.0.0.1:8081, or :8081");
    if let Ok(port) = port(text) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let (host_text, port_text) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port(port_text).map_err(|_| wrong())?;
    if host_text.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let is_bracketed = host_text.starts_with('[') && host_text.ends_with(']');
    let host = host(host_text).map_err(|_| wrong())?;
    // "::1:8081" would be read as an address without a port by everybody else.
    if host.is_ipv6() && !is_bracketed { Err(wrong()) } else { Ok((host, port).into()) }
}

fn log_level(text: &str) -> Result<&'static str, String> {
    let small = text.to_lowercase();
    LEVELS.into_iter().find(|level| *level == small).ok_or_else(|| match nearest(&small, &LEVELS) {
        Some(near) => format!("{text:?} is no level; did you mean {near}?"),
        None => format!("{text:?} is no level; write one of {}", LEVELS.join(", ")),
    })
}

/// An IPv6 address may stand in brackets, as in a URL.
fn bare(text: &str) -> &str {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.filter(|inner| inner.parse::<Ipv6Addr>().is_ok()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn right_values_are_read() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        assert_eq!(host("localhost").unwrap().to_string(), "127.0.0.1");
        assert_eq!(host("[::]").unwrap().to_string(), "::");
        assert_eq!(workers("007"), Ok("7".into()));
        assert_eq!(workers("auto"), Ok("auto".into()));
        let admins = ["8081", ":8081", "0.0.0.0:1", "[::1]:2", "localhost:3"];
        let told = admins.map(|text| admin(text).unwrap().to_string()).join(" ");
        assert_eq!(told, "127.0.0.1:8081 0.0.0.0:8081 0.0.0.0:1 [::1]:2 127.0.0.1:3");
        assert_eq!(log_level("WARN"), Ok("warn"));
    }

    #[test]
    fn wrong_values_are_told_with_what_to_write() {
        let mut told: Vec<String> = Vec::new();
        told.extend(["", "-1", "+80", "65536", "http"].map(|text| port(text).unwrap_err()));
        told.extend(["example.org", "1.2.3"].map(|text| host(text).unwrap_err()));
        told.extend(["0", "-2", "many", "100001"].map(|text| workers(text).unwrap_err()));
        told.extend(["x", "::1:8081", "1.2.3.4"].map(|text| admin(text).unwrap_err()));
        told.extend(["inof", "loud"].map(|text| log_level(text).unwrap_err()));
        expect![[r#"
            "" is no port; write a number from 1 to 65535, or 0 for a free one
            "-1" is no port; write a number from 1 to 65535, or 0 for a free one
            "+80" is no port; write a number from 1 to 65535, or 0 for a free one
            "65536" is no port; write a number from 1 to 65535, or 0 for a free one
            "http" is no port; write a number from 1 to 65535, or 0 for a free one
            "example.org" is no address; write 127.0.0.1, ::1, or 0.0.0.0 for all of them
            "1.2.3" is no address; write 127.0.0.1, ::1, or 0.0.0.0 for all of them
            "0" is no number of workers; write a number from 1 to 100000, or auto
            "-2" is no number of workers; write a number from 1 to 100000, or auto
            "many" is no number of workers; write a number from 1 to 100000, or auto
            "100001" is no number of workers; write a number from 1 to 100000, or auto
            "x" is no address; write HOST:PORT, such as 127.0.0.1:8081, or :8081
            "::1:8081" is no address; write HOST:PORT, such as 127.0.0.1:8081, or :8081
            "1.2.3.4" is no address; write HOST:PORT, such as 127.0.0.1:8081, or :8081
            "inof" is no level; did you mean info?
            "loud" is no level; write one of debug, info, warn, error"#]]
        .assert_eq(&told.join("\n"));
    }
}
