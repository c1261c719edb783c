//! Listeners and the table of connections: accept, timers, close.

use std::io;
use std::net::TcpListener as StdListener;

use mio::event::Event as Wakeup;
use mio::net::TcpListener;
use mio::{Interest, Poll};

use super::conn::{Conn, ConnId, Phase};
use super::respond::{BodyFraming, PlainError, TEXT_UTF8, plain_error};
use crate::data::inflight::Place;
use crate::data::reactor::{Data, GENERATION_MASK, Wake};
use crate::data::timers::{Claimed, TimerQueue};
use crate::limits::{
    ACCEPT_PAUSE_NS, ACCEPT_WARNING_NS, ACCEPTS_PER_TURN_MAX, HEAD_TIMEOUT_NS, IDLE_TIMEOUT_NS,
    LINGER_NS, WINDOW_BYTES_MIN, WINDOW_NS,
};

const TOO_SLOW: &[u8] = b"The request took too long to arrive.";

/// A trigger's listener; gone once draining.
pub struct Listener {
    socket: Option<TcpListener>,
    /// Connections may wait in the kernel that we have not taken.
    waiting: bool,
}

impl Listener {
    /// Registers a bound, non-blocking socket.
    pub fn register(poll: &Poll, socket: StdListener, trigger: u16) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(socket);
        poll.registry().register(
            &mut socket,
            Wake::Accept { trigger }.token(),
            Interest::READABLE,
        )?;
        Ok(Self { socket: Some(socket), waiting: false })
    }
}

impl Data {
    /// Takes waiting connections of one listener, a bounded number.
    pub fn accept(&mut self, trigger: u16) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            if !self.accept_one(trigger) {
                return;
            }
        }
        self.listeners[trigger as usize].waiting = true;
        self.accept_paused_until_ns = self.clock.now_ns;
    }

    /// False when there is nothing more to accept now.
    fn accept_one(&mut self, trigger: u16) -> bool {
        let listener = &mut self.listeners[trigger as usize];
        let Some(socket) = &listener.socket else { return false };
        if self.conn_count >= self.connections_max {
            self.pause_accepting(trigger, "the limit of open connections is reached");
            return false;
        }
        match socket.accept() {
            Ok((stream, _)) => {
                self.counters.connections_accepted += 1;
                self.admit(stream, trigger);
                true
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                listener.waiting = false;
                false
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
            // The client has left again before it was accepted.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => true,
            Err(e) => {
                let text = match e.raw_os_error() {
                    Some(libc_emfile) if is_out_of_descriptors(libc_emfile) => {
                        "no descriptor is free for another connection; raise the nofile limit"
                    }
                    _ => "a connection could not be accepted",
                };
                self.pause_accepting(trigger, text);
                false
            }
        }
    }

    /// Stops accepting for a moment; said again only after a while.
    fn pause_accepting(&mut self, trigger: u16, why: &'static str) {
        if self.clock.now_ns >= self.accept_silent_until_ns {
            self.accept_silent_until_ns = self.clock.now_ns + ACCEPT_WARNING_NS;
            self.log.warn(why);
        }
        self.listeners[trigger as usize].waiting = true;
        self.accept_paused_until_ns = self.clock.now_ns + ACCEPT_PAUSE_NS;
        self.close_oldest_idle();
    }

    /// Makes room for who waits at the door: the connection that has been idle for longest goes.
    fn close_oldest_idle(&mut self) {
        let idle = self.conns.iter().flatten().filter(|conn| conn.is_idle() && conn.used);
        let oldest = idle.min_by_key(|conn| conn.since_ns).map(|conn| conn.generation);
        let index = oldest.and_then(|generation| {
            self.conns.iter().position(|c| c.as_ref().is_some_and(|c| c.generation == generation))
        });
        if let (Some(index), Some(generation)) = (index, oldest) {
            self.close(ConnId { index: index as u32, generation });
        }
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream, trigger: u16) {
        // Replies are written whole; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let index = match self.free_conns.pop() {
            Some(index) => index,
            None => {
                self.conns.push(None);
                (self.conns.len() - 1) as u32
            }
        };
        self.conn_generation = (self.conn_generation + 1) & GENERATION_MASK;
        let id = ConnId { index, generation: self.conn_generation };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if registry.register(&mut stream, Wake::Connection(id).token(), interest).is_err() {
            self.free_conns.push(index);
            return;
        }
        self.conn_count += 1;
        self.conns[index as usize] =
            Some(Box::new(Conn::new(stream, id.generation, trigger, self.clock.now_ns)));
        self.queue_long(id);
        self.receive(id);
    }

    /// The connection, if it is still the one that is meant.
    pub fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(id.index as usize)?.as_deref_mut()?;
        (conn.generation == id.generation).then_some(conn)
    }

    /// The kernel has news of a connection.
    pub fn connection_ready(&mut self, id: ConnId, wake: &Wakeup) {
        let Some(conn) = self.conn(id) else { return };
        if wake.is_error() || wake.is_write_closed() {
            // Nobody is there any more to answer.
            self.close(id);
            return;
        }
        conn.readable |= wake.is_readable();
        conn.read_closed |= wake.is_read_closed();
        let left = conn.read_closed;
        if wake.is_writable() && !conn.out.is_empty() {
            self.send_more(id);
        }
        if wake.is_readable() {
            self.receive(id);
        }
        if left {
            self.look_whether_left(id);
        }
    }

    /// While a reply is streamed, a client that has closed its side is taken to have left: nothing
    /// else would tell before the next piece.
    pub fn look_whether_left(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        let streams = matches!(conn.phase, Phase::Replying)
            && conn.event.is_some()
            && matches!(conn.framing, BodyFraming::Chunked | BodyFraming::UntilClose);
        // What it sent before, such as a further request, says that it still wants an answer.
        if streams
            && conn.read_closed
            && conn.inbuf.is_empty()
            && matches!(conn.stream.peek(&mut [0]), Ok(0))
        {
            self.close(id);
        }
    }

    /// Connections that had more to do than one turn allows.
    pub fn look_again(&mut self) {
        for _ in 0..self.again.len() {
            let Some(id) = self.again.pop_front() else { break };
            let Some(conn) = self.conn(id) else { continue };
            conn.in_again = false;
            self.receive(id);
        }
        if self.accept_paused_until_ns != 0 && self.clock.now_ns >= self.accept_paused_until_ns {
            self.accept_paused_until_ns = 0;
            for trigger in 0..self.listeners.len() {
                if self.listeners[trigger].waiting {
                    self.accept(trigger as u16);
                }
            }
        }
    }

    /// Closes a connection: what it holds goes back, an event that still waits is dropped.
    pub fn close(&mut self, id: ConnId) {
        if self.conn(id).is_none() {
            return;
        }
        let Some(mut conn) = self.conns[id.index as usize].take() else { return };
        self.free_conns.push(id.index);
        self.conn_count -= 1;
        self.spilled_bytes -= conn.out.private_bytes();
        let mut done = Vec::new();
        conn.out.clear(|d| done.push(d));
        for d in done {
            self.piece_done(d);
        }
        if let Phase::Body(receiving) = std::mem::replace(&mut conn.phase, Phase::Head) {
            self.drop_receiving(conn.trigger, &receiving);
        }
        if let Some(key) = conn.event.take() {
            self.client_left(key);
        }
        let _ = self.poll.registry().deregister(&mut conn.stream);
    }

    /// The client of an event has gone. What waits is dropped; what runs is finished unheard.
    pub fn client_left(&mut self, key: crate::data::inflight::EventKey) {
        let Some(event) = self.events.get_mut(key) else { return };
        event.client = None;
        if event.place == Place::Pending {
            // Its entry in the queue is skipped when it comes to the front.
            self.end_event(key);
        } else {
            self.body_broken(key);
            self.stop_unheard(key);
        }
    }

    /// Puts a connection before the short timer: a head, a body or a reply is under way.
    pub fn queue_short(&mut self, id: ConnId) {
        let now = self.clock.now_ns;
        if let Some(conn) = self.conn(id)
            && !conn.in_short
        {
            conn.in_short = true;
            self.short_timers.push(now + WINDOW_NS, id);
        }
    }

    /// Gives a refused client its last moment.
    pub fn queue_linger(&mut self, id: ConnId) {
        self.linger_timers.push(self.clock.now_ns + LINGER_NS, id);
    }

    fn queue_long(&mut self, id: ConnId) {
        let now = self.clock.now_ns;
        if let Some(conn) = self.conn(id)
            && !conn.in_long
        {
            conn.in_long = true;
            self.long_timers.push(now + IDLE_TIMEOUT_NS, id);
        }
    }

    /// When a connection timer is due next; entries of closed connections are dropped here, so that
    /// they wake nobody.
    pub fn next_connection_timer_ns(&mut self) -> Option<u64> {
        self.expire_connections(0);
        let resume = (self.accept_paused_until_ns != 0).then_some(self.accept_paused_until_ns);
        let drain = self.draining.and_then(|since| {
            let limits = self.conns.iter().flatten().filter_map(|conn| conn.drain_limit_ns());
            limits.min().map(|limit| since + limit)
        });
        let queues = [&self.short_timers, &self.long_timers, &self.linger_timers];
        let timers = queues.into_iter().filter_map(TimerQueue::next_due_ns);
        timers.chain(resume).chain(drain).min()
    }

    /// Connections whose time is up at `now_ns`.
    pub fn expire_connections(&mut self, now_ns: u64) {
        let mut short = std::mem::take(&mut self.short_timers);
        while let Some(id) = short.pop_due(now_ns, |id| self.short_claim(id)) {
            if let Some(conn) = self.conn(id) {
                conn.in_short = false;
            }
            self.window_over(id);
        }
        // What was queued meanwhile stands behind what was there.
        std::mem::swap(&mut short, &mut self.short_timers);
        self.requeue_short(short);
        let mut long = std::mem::take(&mut self.long_timers);
        while let Some(id) = long.pop_due(now_ns, |id| self.long_claim(id)) {
            self.close(id);
        }
        self.long_timers = long;
        let mut linger = std::mem::take(&mut self.linger_timers);
        while let Some(id) = linger.pop_due(now_ns, |id| self.linger_claim(id)) {
            self.close(id);
        }
        self.linger_timers = linger;
    }

    fn requeue_short(&mut self, mut queued_meanwhile: TimerQueue<ConnId>) {
        while let Some(due) = queued_meanwhile.next_due_ns() {
            if let Some(id) = queued_meanwhile.pop_due(due, |_| Claimed::Until(due)) {
                self.short_timers.push(due, id);
            }
        }
    }

    fn short_claim(&mut self, id: ConnId) -> Claimed {
        let Some(conn) = self.conn(id) else { return Claimed::No };
        let due = match conn.phase {
            Phase::Head if conn.inbuf.is_empty() && conn.out.is_empty() => None,
            Phase::Head => Some(conn.since_ns + HEAD_TIMEOUT_NS),
            Phase::Body(_) => Some(conn.since_ns + WINDOW_NS),
            Phase::Waiting | Phase::Replying if conn.waits_for_body() => {
                Some(conn.since_ns + WINDOW_NS)
            }
            Phase::Replying if conn.out.is_empty() => None,
            Phase::Replying => Some(conn.since_ns + WINDOW_NS),
            Phase::Waiting | Phase::Lingering { .. } => None,
        };
        match due {
            Some(due) => Claimed::Until(due),
            None => {
                conn.in_short = false;
                Claimed::No
            }
        }
    }

    fn long_claim(&mut self, id: ConnId) -> Claimed {
        let now = self.clock.now_ns;
        match self.conn(id) {
            None => Claimed::No,
            Some(conn) if conn.is_idle() => Claimed::Until(conn.since_ns + IDLE_TIMEOUT_NS),
            // Busy: asked again after another such time.
            Some(_) => Claimed::Until(now + IDLE_TIMEOUT_NS),
        }
    }

    fn linger_claim(&mut self, id: ConnId) -> Claimed {
        self.conn(id).map_or(Claimed::No, |conn| Claimed::Until(conn.since_ns + LINGER_NS))
    }

    /// A head took too long, or a body or a reply moved too little in its window.
    fn window_over(&mut self, id: ConnId) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        let moved_enough = conn.moved >= WINDOW_BYTES_MIN;
        match conn.phase {
            Phase::Waiting if conn.waits_for_body() && !moved_enough => {
                self.counters.connections_cut += 1;
                self.cut_upload(id, 408, TOO_SLOW);
            }
            Phase::Body(_) | Phase::Replying | Phase::Waiting if moved_enough => {
                conn.moved = 0;
                conn.since_ns = now;
                self.queue_short(id);
            }
            Phase::Body(ref receiving) if receiving.starved => {
                // Uploads that each hold a part and wait for more would wait for each other.
                self.counters.rejected_full += 1;
                self.refuse(id, 503, b"No memory became free for the request body in time.");
                self.feed_starved();
            }
            Phase::Head | Phase::Body(_) => {
                self.counters.connections_cut += 1;
                self.refuse(id, 408, TOO_SLOW);
                self.feed_starved();
            }
            Phase::Replying => {
                self.counters.connections_cut += 1;
                self.close(id);
            }
            Phase::Waiting | Phase::Lingering { .. } => {}
        }
    }

    /// Answers with a status and a text of ours, then closes.
    pub fn refuse(&mut self, id: ConnId, status: u16, text: &[u8]) {
        let mut out = std::mem::take(&mut self.head_buf);
        out.clear();
        if let Some(conn) = self.conn(id) {
            let mut asker = conn.asker;
            asker.keep_alive = false;
            let error = PlainError {
                status,
                content_type: TEXT_UTF8,
                body: text,
                asker,
                date: &self.date,
                cors_lines: b"",
            };
            plain_error(&mut out, &error);
            self.count_response(status);
            self.send_last(id, &out);
        }
        self.head_buf = out;
    }

    /// Stops listening: what waits in the kernel is taken first, so that nobody who was let in is
    /// turned away.
    pub fn stop_listening(&mut self) {
        for trigger in 0..self.listeners.len() {
            while self.accept_one(trigger as u16) {}
            if let Some(mut socket) = self.listeners[trigger].socket.take() {
                let _ = self.poll.registry().deregister(&mut socket);
            }
        }
    }

    /// While draining: closes connections that are idle, and refuses requests that do not arrive.
    pub fn end_waiting_for_clients(&mut self, draining_ns: u64) {
        let over: Vec<(ConnId, bool)> = self
            .conns
            .iter()
            .enumerate()
            .filter_map(|(index, conn)| {
                let conn = conn.as_ref()?;
                conn.drain_limit_ns().filter(|limit| draining_ns >= *limit)?;
                let id = ConnId { index: index as u32, generation: conn.generation };
                Some((id, conn.is_idle()))
            })
            .collect();
        for (id, is_idle) in over {
            if is_idle {
                self.close(id);
            } else {
                self.counters.connections_cut += 1;
                self.refuse(id, 408, TOO_SLOW);
            }
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_out_of_descriptors(errno: i32) -> bool {
    use nix::errno::Errno;
    matches!(Errno::from_raw(errno), Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}
