//! What must be had before anything starts: ports, shared memory, the name, descriptors.
//!
//! Everything that cannot be had is told at once, and what could be had is given back.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rings::slots::Slots;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::args::Args;
use crate::config::Config;
use crate::limits::{CONNECTIONS_MAX, DESCRIPTOR_RESERVE};
use crate::machine;
use crate::record;
use crate::registry::{self, Registration, RegistryError};

/// Connections that wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;
/// Where the admin side listens unless told otherwise.
const ADMIN_HOST: &str = "127.0.0.1";
pub const ADMIN_PORT: u16 = 8081;
/// Per worker and per replacement of it: bells, pidfds, pipes, handshake.
const DESCRIPTORS_PER_WORKER: u64 = 16;
/// Fewer connections than this are no server.
const CONNECTIONS_MIN: u64 = 16;

/// What whoever runs such a processor must know: docs/adr/0008.
const PORTABLE: &str = "built with `portable`: the kernel does not keep a worker from writing what \
                        is the processor's, so run only code that you trust";

/// Everything that had to be had.
pub struct Prepared {
    pub http: TcpListener,
    pub admin: TcpListener,
    pub admin_socket: Option<UnixListener>,
    /// None where names cannot be kept.
    pub registration: Option<Registration>,
    pub slots: Slots,
    pub connections_max: usize,
    /// Where events are recorded.
    pub recording: Option<File>,
    /// The limit of open files that workers get back.
    pub nofile_of_workers: u64,
    pub warnings: Vec<String>,
}

impl Prepared {
    /// All that cannot be had, each a sentence.
    pub fn new(config: &Config) -> Result<Prepared, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut warnings = Vec::new();
        if cfg!(feature = "portable") {
            warnings.push(PORTABLE.into());
        }
        let (nofile_of_workers, nofile) = machine::raise_nofile();
        let connections_max = note(connections_max(config, nofile), &mut mistakes);
        let registration = note(claim_name(config, &mut warnings), &mut mistakes);
        let http = note(bind_http(&config.args), &mut mistakes);
        let admin = note(bind_admin(config.args.admin.as_deref()), &mut mistakes);
        let slots = Slots::new(config.event_memory_bytes).map_err(|error| error.to_string());
        let slots = note(slots, &mut mistakes);
        let (Some(http), Some(admin), Some(registration), Some(slots), Some(connections_max)) =
            (http, admin, registration, slots, connections_max)
        else {
            return Err(mistakes);
        };
        // Last, so that nothing is left of a start that failed.
        let recording = recording(config).map_err(|mistake| vec![mistake])?;
        let admin_socket = registration.as_ref().and_then(|registration| {
            bind_file(&registration.admin_socket())
                .map_err(|error| warnings.push(format!("no admin socket: {error}")))
                .ok()
        });
        Ok(Prepared {
            http,
            admin,
            admin_socket,
            registration,
            slots,
            connections_max,
            recording,
            nofile_of_workers,
            warnings,
        })
    }
}

fn note<T>(result: Result<T, String>, mistakes: &mut Vec<String>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn connections_max(config: &Config, nofile: u64) -> Result<usize, String> {
    let for_workers = u64::from(config.worker_count()) * DESCRIPTORS_PER_WORKER;
    let left = nofile.saturating_sub(DESCRIPTOR_RESERVE + for_workers);
    if left < CONNECTIONS_MIN {
        return Err(format!(
            "the limit of open files, {nofile}, is too low with --workers {}; raise it with ulimit \
             -n to {} or more, or have fewer workers",
            config.worker_count(),
            DESCRIPTOR_RESERVE + for_workers + CONNECTIONS_MIN
        ));
    }
    Ok(usize::try_from(left).unwrap_or(usize::MAX).min(CONNECTIONS_MAX))
}

fn claim_name(config: &Config, warnings: &mut Vec<String>) -> Result<Option<Registration>, String> {
    if config.args.ready_fd.is_some() {
        return Ok(None);
    }
    let Some(folder) = registry::state_folder(|name| std::env::var(name).ok()) else {
        let text = "no name is kept for this run: neither NUCLIO_STATE_DIR nor HOME is set";
        warnings.push(text.into());
        return Ok(None);
    };
    match registry::claim(&folder, &config.namespace, config.name()) {
        Ok(registration) => Ok(Some(registration)),
        Err(error @ RegistryError::Taken { .. }) => {
            Err(format!("{} in namespace {} {error}", config.name(), config.namespace))
        }
        Err(error @ RegistryError::Unwritable { .. }) => {
            warnings.push(format!("no name is kept for this run: {error}"));
            Ok(None)
        }
    }
}

fn recording(config: &Config) -> Result<Option<File>, String> {
    let Some(path) = &config.args.record else { return Ok(None) };
    record::open(path, config.recording_head()).map(Some)
}

/// What is wrong with the addresses, where a mistake elsewhere keeps us from starting anyway.
pub fn address_mistakes(args: &Args) -> Vec<String> {
    let (http, admin) = (bind_http(args), bind_admin(args.admin.as_deref()));
    http.err().into_iter().chain(admin.err()).collect()
}

fn bind_http(args: &Args) -> Result<TcpListener, String> {
    let (host, port) = (args.host.as_str(), args.port);
    let addresses = resolve(host, port).map_err(|error| format!("--host {host}: {error}"))?;
    bind_first(&addresses).map_err(|error| refused(host, port, &error, "--host", "--port"))
}

fn bind_admin(given: Option<&str>) -> Result<TcpListener, String> {
    let Some(text) = given else {
        let usual = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), ADMIN_PORT);
        let free = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0);
        let any = bind_first(&[usual]).or_else(|_| bind_first(&[free]));
        return any.map_err(|error| refused(ADMIN_HOST, ADMIN_PORT, &error, "--admin", "--admin"));
    };
    let wrong =
        || format!("--admin {text}: is no address; write host and port, such as {ADMIN_HOST}:8081");
    let (host, port) = text.rsplit_once(':').unwrap_or((ADMIN_HOST, text));
    let port = port.parse().map_err(|_| wrong())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // As in nuclio's own settings, `:8081` is every address of this machine.
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let addresses = resolve(host, port).map_err(|_| wrong())?;
    bind_first(&addresses).map_err(|error| refused(host, port, &error, "--admin", "--admin"))
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    // `localhost` may mean both; clients that try one only try this.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "has no address"));
    }
    Ok(addresses)
}

fn bind_first(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// By hand, since the standard library lets only 128 connections wait.
fn bind_one(address: &SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of a run that has just ended must not keep the port from the next.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn refused(host: &str, port: u16, error: &io::Error, host_flag: &str, port_flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} of {host} is taken by another program; stop it, or choose another port \
             with {port_flag}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {port} may not be listened on by this user; choose one above 1023 with \
             {port_flag}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{host} is no address of this machine; choose one with {host_flag}")
        }
        _ => format!("port {port} of {host}: {error}"),
    }
}

/// The path of a socket file may have 107 bytes; a longer one is reached through its folder.
fn bind_file(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            use std::os::fd::AsRawFd;
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(error);
            };
            let folder = std::fs::File::open(folder)?;
            let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
            UnixListener::bind(Path::new(&short).join(name))
        }
        bound => bound,
    }
}

/// A listener's address as a link: a wildcard address is none that one can go to.
pub fn url(listener: &TcpListener) -> String {
    match listener.local_addr() {
        Ok(mut address) => {
            if address.ip().is_unspecified() {
                let loopback: IpAddr = match address {
                    SocketAddr::V4(_) => [127, 0, 0, 1].into(),
                    SocketAddr::V6(_) => [0, 0, 0, 0, 0, 0, 0, 1].into(),
                };
                address.set_ip(loopback);
            }
            format!("http://{address}")
        }
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_a_sentence_and_the_usual_admin_port_gives_way() {
        let first = bind_admin(Some("127.0.0.1:0")).unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(url(&first), format!("http://127.0.0.1:{port}"));
        let error = bind_admin(Some(&port.to_string())).unwrap_err();
        assert_eq!(
            error,
            format!(
                "port {port} of 127.0.0.1 is taken by another program; stop it, or choose another \
                 port with --admin"
            )
        );
        let (one, two) = (bind_admin(None).unwrap(), bind_admin(None).unwrap());
        assert_ne!(one.local_addr().unwrap().port(), two.local_addr().unwrap().port());
    }

    #[test]
    fn addresses_that_are_none() {
        for text in ["x", "127.0.0.1:x", "no such host:1", "127.0.0.1:70000"] {
            let error = bind_admin(Some(text)).unwrap_err();
            assert!(error.contains("is no address"), "{error}");
        }
        let error = bind_admin(Some("192.0.2.1:0")).unwrap_err();
        assert!(error.contains("no address of this machine"), "{error}");
        let anywhere = bind_admin(Some(":0")).unwrap();
        assert!(url(&anywhere).starts_with("http://127.0.0.1:"), "{}", url(&anywhere));
    }

    #[test]
    fn socket_files_may_lie_deep() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("admin.sock");
        let _listener = bind_file(&path).unwrap();
        assert!(path.exists());
    }
}
