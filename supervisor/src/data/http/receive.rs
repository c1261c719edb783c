//! Bytes from a connection into events: small requests once, large bodies straight into slots.

use std::io::{ErrorKind, Read};

use super::conn::{ConnId, Phase};
use super::cors::CorsVerdict;
use super::parse::{Framing, Head, Header, Parsed, Reject, parse_head};
use super::respond::{Asker, CONTINUE};
use crate::data::reactor::Data;
use crate::limits::{BODY_PRIVATE_BYTES_MAX, LINGER_BYTES_MAX, READ_BYTES};

/// What became of the bytes at the front of a buffer.
enum Taken {
    /// So many belong to a request that is now under way or refused.
    Request(usize),
    /// Nothing yet; look again when so many are there.
    More(usize),
}

/// How a read ended.
pub enum Read1 {
    Bytes(usize),
    Nothing,
    Closed,
}

/// Reads of one connection in a turn; then others have theirs.
const READS_PER_TURN_MAX: usize = 64;

impl Data {
    /// Reads and works off what a connection has, as far as its phase allows.
    pub fn receive(&mut self, id: ConnId) {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(conn) = self.conn(id) else { return };
            if matches!(conn.phase, Phase::Head) && !conn.inbuf.is_empty() && conn.need == 0 {
                self.take_left_over(id);
                continue;
            }
            // An upload has bytes here, or begins to wait for its client.
            if !conn.readable && conn.upload.is_none() {
                return;
            }
            let go_on = match conn.phase {
                Phase::Head => self.receive_head(id),
                Phase::Body(_) => self.receive_body(id),
                Phase::Lingering { .. } => self.read_away(id),
                Phase::Waiting | Phase::Replying if conn.upload.is_some() => {
                    self.receive_upload(id)
                }
                // The kernel's buffer fills and pushes back until the reply is sent.
                Phase::Waiting | Phase::Replying => false,
            };
            if !go_on {
                return;
            }
        }
        self.look_later(id);
    }

    /// Has a connection looked at in the next turn, whether or not the kernel wakes us for it.
    pub fn look_later(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && !conn.in_again
        {
            conn.in_again = true;
            self.again.push_back(id);
        }
    }

    /// One read into `buf`. A short one means that the kernel has no more for now, unless the client
    /// has said its last word: nothing would announce that again.
    pub fn read(&mut self, id: ConnId, buf: &mut [u8]) -> Read1 {
        let Some(conn) = self.conn(id) else { return Read1::Closed };
        match conn.stream.read(buf) {
            Ok(0) => Read1::Closed,
            Ok(n) => {
                conn.readable = n == buf.len() || conn.read_closed;
                conn.moved += n as u64;
                Read1::Bytes(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                conn.readable = false;
                Read1::Nothing
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Read1::Nothing,
            Err(_) => Read1::Closed,
        }
    }

    fn receive_head(&mut self, id: ConnId) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read(id, &mut scratch);
        let go_on = match read {
            Read1::Bytes(n) => {
                self.take_bytes(id, &scratch[..n]);
                true
            }
            Read1::Nothing => false,
            Read1::Closed => {
                self.close(id);
                false
            }
        };
        self.scratch = scratch;
        go_on
    }

    /// Works off new bytes in the phase `Head`; what is left over is kept.
    fn take_bytes(&mut self, id: ConnId, bytes: &[u8]) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        if conn.inbuf.is_empty() {
            conn.since_ns = now;
            self.take_requests(id, bytes, false);
            return;
        }
        conn.inbuf.extend_from_slice(bytes);
        if conn.inbuf.len() >= conn.need {
            let buf = std::mem::take(&mut conn.inbuf);
            self.take_requests(id, &buf, true);
        }
    }

    /// The last request is done: goes on with what came behind it. Not at once, since replies to
    /// many pipelined requests would nest, but in the next turn, which then comes at once.
    pub fn next_request(&mut self, id: ConnId) {
        if self.conn(id).is_some_and(|c| c.readable || !c.inbuf.is_empty()) {
            self.look_later(id);
        }
    }

    /// Looks at bytes that came behind the last request.
    fn take_left_over(&mut self, id: ConnId) {
        let now = self.clock.now_ns;
        if let Some(conn) = self.conn(id) {
            conn.since_ns = now;
            let buf = std::mem::take(&mut conn.inbuf);
            self.take_requests(id, &buf, false);
        }
    }

    /// Takes the request at the front of `buf`; the rest goes into `inbuf` or the body.
    fn take_requests(&mut self, id: ConnId, buf: &[u8], seen_before: bool) {
        match self.take_request(id, buf, seen_before) {
            Taken::Request(used) => {
                let rest = &buf[used..];
                let Some(conn) = self.conn(id) else { return };
                match conn.phase {
                    Phase::Body(_) => self.take_body_bytes(id, rest),
                    Phase::Lingering { .. } => {}
                    _ => {
                        conn.inbuf.extend_from_slice(rest);
                        conn.need = 0;
                    }
                }
            }
            Taken::More(need) => {
                if let Some(conn) = self.conn(id) {
                    conn.inbuf.clear();
                    conn.inbuf.extend_from_slice(buf);
                    conn.need = need;
                    self.queue_short(id);
                }
            }
        }
    }

    fn take_request(&mut self, id: ConnId, buf: &[u8], seen_before: bool) -> Taken {
        // A head that came in pieces is parsed when its end may be there, not at each byte.
        if seen_before && buf.len() < super::parse::HEAD_BYTES_MAX && !has_head_end(buf) {
            return Taken::More(buf.len() + 1);
        }
        let mut table = self.table.take().unwrap_or_default();
        let taken = match parse_head(buf, &mut table) {
            Parsed::Partial => Taken::More(buf.len() + 1),
            Parsed::Reject(reject) => {
                self.reject(id, reject);
                Taken::Request(buf.len())
            }
            Parsed::Head(head) => self.take_head(id, buf, &head, table.lines()),
        };
        self.table = Some(table);
        taken
    }

    pub fn reject(&mut self, id: ConnId, reject: Reject) {
        self.counters.bad_requests += 1;
        self.refuse(id, reject.status(), reject.reason().as_bytes());
    }

    /// A whole head is at the front of `buf`.
    fn take_head(&mut self, id: ConnId, buf: &[u8], head: &Head, lines: &[Header]) -> Taken {
        let Some(conn) = self.conn(id) else { return Taken::Request(buf.len()) };
        let trigger = conn.trigger as usize;
        conn.used = true;
        conn.asker = Asker::of(head);
        let body_bytes = match head.framing {
            Framing::None => 0,
            Framing::Length(n) => n,
            Framing::Chunked => u64::MAX,
        };
        conn.has_more = buf.len() as u64 > body_bytes.saturating_add(head.head_len as u64);
        if head.framing != Framing::Chunked && body_bytes > self.triggers[trigger].body_bytes_max {
            self.refuse(id, 413, b"The request body is larger than maxRequestBodySize.");
            return Taken::Request(buf.len());
        }
        let have = buf.len() - head.head_len;
        if head.framing != Framing::Chunked && (have as u64) >= body_bytes {
            let end = head.head_len + body_bytes as usize;
            if self.answer_without_handler(id, head, buf) {
                return Taken::Request(end);
            }
            self.begin_event(id, &buf[..end], head, lines);
            return Taken::Request(end);
        }
        if head.expect_continue && have == 0 {
            self.send_continue(id);
        }
        if self.triggers[trigger].streams_requests {
            self.begin_upload(id, &buf[..head.head_len], head, lines);
            self.look_later(id);
            return Taken::Request(head.head_len);
        }
        let private_max = BODY_PRIVATE_BYTES_MAX as u64;
        if head.framing != Framing::Chunked
            && (body_bytes <= private_max || have < BODY_PRIVATE_BYTES_MAX)
        {
            // Small, or hardly begun: a stalled upload holds no slot.
            return Taken::More(head.head_len + body_bytes.min(private_max) as usize);
        }
        self.begin_body(id, buf, head, lines, body_bytes);
        Taken::Request(head.head_len)
    }

    fn send_continue(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && conn.out.is_empty()
        {
            // Twelve words fit any socket buffer; a client that does not see them sends anyway.
            let _ = std::io::Write::write(&mut conn.stream, CONTINUE);
        }
    }

    /// Health and CORS are answered here; true if so.
    pub fn answer_without_handler(&mut self, id: ConnId, head: &Head, buf: &[u8]) -> bool {
        if head.path.of(buf) == b"/__internal/health" {
            let ready = self.is_ready();
            let (status, text): (u16, &[u8]) =
                if ready { (200, b"ready") } else { (503, b"not ready") };
            self.reply_text(id, status, text);
            return true;
        }
        let Some(conn) = self.conn(id) else { return true };
        let trigger = conn.trigger as usize;
        let Some(cors) = self.triggers[trigger].cors.take() else { return false };
        let verdict = cors.decide(head, buf);
        let origin = head.origin.map_or(&b""[..], |span| span.of(buf));
        let answered = match verdict {
            CorsVerdict::Call(grant) => {
                if let Some(conn) = self.conn(id) {
                    conn.grant = Some(grant);
                    conn.reflected.clear();
                    if grant == super::cors::Grant::Reflect {
                        cors.append_reflected(&mut conn.reflected, origin);
                    }
                }
                false
            }
            CorsVerdict::Forbidden => {
                self.reply_text(id, 403, b"This origin is not allowed.");
                true
            }
            CorsVerdict::Preflight | CorsVerdict::BadPreflight => {
                let asker = self.asker(id);
                let mut out = Vec::new();
                let promise = match verdict {
                    CorsVerdict::Preflight => {
                        cors.write_preflight(&mut out, origin, asker, &self.date)
                    }
                    _ => cors.write_bad_preflight(&mut out, asker, &self.date),
                };
                self.send_own(id, &out, promise.keep_alive);
                true
            }
        };
        self.triggers[trigger].cors = Some(cors);
        answered
    }

    /// False when the connection has nothing more now, or is gone.
    pub fn went_on(&mut self, id: ConnId, read: &Read1) -> bool {
        match read {
            Read1::Bytes(_) => true,
            Read1::Nothing => false,
            Read1::Closed => {
                self.close(id);
                false
            }
        }
    }

    /// Reads what a refused client still sends, so that it sees the answer and not a reset.
    fn read_away(&mut self, id: ConnId) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read(id, &mut scratch);
        self.scratch = scratch;
        let Read1::Bytes(n) = read else { return self.went_on(id, &read) };
        let Some(conn) = self.conn(id) else { return false };
        if let Phase::Lingering { bytes } = &mut conn.phase {
            *bytes += n as u64;
            if *bytes > LINGER_BYTES_MAX {
                self.close(id);
                return false;
            }
        }
        true
    }
}

/// True if `buf` may hold a whole head, or a line end that is refused.
fn has_head_end(buf: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', buf)
        .any(|i| i == 0 || buf[i - 1] != b'\r' || buf[..i - 1].ends_with(b"\r\n"))
}

const _: () = assert!(READ_BYTES >= super::parse::HEAD_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_looked_at_when_it_may_be_whole_or_wrong() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for len in 0..whole.len() {
            assert!(!has_head_end(&whole[..len]), "{len}");
        }
        for seen in [&whole[..], b"\r\n\r\n", b"\n", b"GET / HTTP/1.1\r\nX: a\n", b"\r\nGET /\n"] {
            assert!(has_head_end(seen), "{seen:?}");
        }
    }
}
