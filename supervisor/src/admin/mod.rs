//! The admin side: health, metrics and figures over HTTP, on a TCP port and on a socket file.
//!
//! tokio lives here and nowhere near the data thread, which is only ever asked for a snapshot.

mod api;
mod door;
mod health;
mod logs;
mod metrics;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tokio::sync::{Semaphore, oneshot};

use crate::crossing::{Snapshot, ToData, ToDataSender};
use crate::log::Log;
use crate::workers::board::Board;
use door::Door;

/// The data thread answers within a turn; after this long it hangs.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(2);
/// Snapshots asked for at once, so that a flood of scrapes cannot fill the data thread's queue.
const SNAPSHOTS_MAX: usize = 8;

/// Where to listen and about whom to speak.
pub struct AdminConfig {
    pub function: String,
    pub namespace: String,
    pub tcp: Option<TcpListener>,
    pub socket: Option<UnixListener>,
}

/// What the pages are made of.
struct Source {
    function: String,
    namespace: String,
    to_data: ToDataSender,
    board: Board,
    log: Log,
    started: Instant,
    snapshots: Semaphore,
}

impl Source {
    /// `None` when the data thread does not answer.
    async fn snapshot(&self) -> Option<Box<Snapshot>> {
        let asked = async {
            let _permit = self.snapshots.acquire().await.ok()?;
            let (reply, answer) = oneshot::channel();
            self.to_data.send(ToData::Snapshot(reply)).ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(SNAPSHOT_LIMIT, asked).await.ok()?
    }
}

/// Starts the control thread. It lives as long as the process.
pub fn start(config: AdminConfig, to_data: ToDataSender, board: Board, log: Log) -> io::Result<()> {
    let source = Arc::new(Source {
        function: config.function,
        namespace: config.namespace,
        to_data,
        board,
        log,
        started: Instant::now(),
        snapshots: Semaphore::new(SNAPSHOTS_MAX),
    });
    for listener in config.tcp.iter() {
        listener.set_nonblocking(true)?;
    }
    for listener in config.socket.iter() {
        listener.set_nonblocking(true)?;
    }
    let (tcp, socket) = (config.tcp, config.socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("control".into()).spawn(move || {
        let log = source.log.clone();
        if let Err(error) = runtime.block_on(serve(source, tcp, socket)) {
            log.error(format!("the admin listener has failed: {error}"));
        }
    })?;
    Ok(())
}

async fn serve(
    source: Arc<Source>,
    tcp: Option<TcpListener>,
    socket: Option<UnixListener>,
) -> io::Result<()> {
    let public = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::page));
    let private = public
        .clone()
        .route("/api/workers", get(api::workers))
        .route("/api/stats", get(api::stats))
        .route("/api/logs", get(logs::page));
    let over_socket = async {
        let Some(listener) = socket else { return Ok(()) };
        let door = Door::new(tokio::net::UnixListener::from_std(listener)?);
        axum::serve(door, private.clone().with_state(source.clone())).await
    };
    let over_tcp = async {
        let Some(listener) = tcp else { return Ok(()) };
        // From other machines nobody needs to know more than an orchestrator does.
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        let router = if is_loopback { private.clone() } else { public };
        let door = Door::new(tokio::net::TcpListener::from_std(listener)?);
        axum::serve(door, router.with_state(source.clone())).await
    };
    tokio::try_join!(over_socket, over_tcp).map(|_| ())
}
