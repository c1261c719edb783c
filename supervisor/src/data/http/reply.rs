//! What the client gets: a handler's reply, or a text of ours; and what is freed when it is sent.

use std::os::fd::AsFd;

use rings::abi::content_type;
use rings::check::{Block, Response};
use rings::error::Violation;
use rings::os::{Part, send_parts};

use super::chunked::{CHUNK_TAIL, LAST_CHUNK, append_chunk_head};
use super::conn::{Conn, ConnId, Phase};
use super::cors::Grant;
use super::log_lines;
use super::respond::{
    Asker, BYTES, BodyFraming, FieldValue, HANDLER_TIMED_OUT, HTML, HeaderBlock, JSON, PlainError,
    ResponseHead, TEXT, plain_error, write_head,
};
use super::send::{Bytes, Done, Piece};
use crate::data::dispatch::Trigger;
use crate::data::inflight::{EventKey, Place, WorkerKey, drop_hold};
use crate::data::reactor::Data;
use crate::limits::{REPLY_BUFFER_BYTES_MAX, REPLY_PIN_NS, SMALL_REPLY_BYTES};

/// A body of a reply: ranges of shared memory, each with what is done when it is sent.
type Ranges = Vec<Piece>;

impl Data {
    /// Sends a handler's reply, or its beginning, to the event's client. The block of the reply and
    /// the hold of a body in the event's slot end when the bytes are sent.
    pub fn respond(
        &mut self,
        worker: WorkerKey,
        key: EventKey,
        status: u16,
        r: &Response,
    ) -> Result<(), Violation> {
        let mut block_buf = std::mem::take(&mut self.block_buf);
        block_buf.clear();
        block_buf.resize(r.head_bytes as usize, 0);
        self.workers[worker].end.copy_block(r.block, &mut block_buf);
        let headers = HeaderBlock::check(&block_buf).map_err(|fault| Violation::Head(fault.text()));
        let result = headers.map(|headers| self.respond_with(worker, key, status, r, headers));
        self.block_buf = block_buf;
        if result.is_err() {
            self.workers[worker].end.release_block(r.block).ok();
        }
        result
    }

    fn respond_with(
        &mut self,
        worker: WorkerKey,
        key: EventKey,
        status: u16,
        r: &Response,
        headers: HeaderBlock<'_>,
    ) {
        let id = self.events.get(key).and_then(|event| event.client);
        let Some(id) = id.filter(|id| self.conn(*id).is_some()) else {
            self.release_block(worker, r.block, None);
            return;
        };
        self.count_response(status);
        let mut out = std::mem::take(&mut self.head_buf);
        out.clear();
        let length = match r.in_pieces {
            None => Some(u64::from(r.body_bytes)),
            Some(whole) => whole,
        };
        let promise = self.write_reply_head(&mut out, id, key, status, r, headers, length);
        let wants_body = promise.body != BodyFraming::None;
        let whole = r.in_pieces.is_none();
        if let Some(conn) = self.conn(id) {
            conn.framing = promise.body;
            conn.closing = !promise.keep_alive;
            conn.phase = Phase::Replying;
        }
        let body_bytes = if wants_body { r.body_bytes as usize } else { 0 };
        match r.body_in_event_at {
            _ if whole && body_bytes <= SMALL_REPLY_BYTES => {
                self.append_body(&mut out, key, worker, r, body_bytes);
                self.release_block(worker, r.block, None);
                self.send_small(id, &out);
            }
            Some(at) => self.send_from_event(id, key, worker, r, &out, at as usize, body_bytes),
            None => self.send_from_arena(id, worker, r, &out, body_bytes),
        }
        self.head_buf = out;
        if whole {
            self.reply_complete(id);
        } else if length.is_none() {
            self.look_whether_left(id);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one head needs all of them; a struct would only rename"
    )]
    fn write_reply_head(
        &mut self,
        out: &mut Vec<u8>,
        id: ConnId,
        key: EventKey,
        status: u16,
        r: &Response,
        headers: HeaderBlock<'_>,
        length: Option<u64>,
    ) -> super::respond::Promise {
        let asker = self.asker(id);
        let mut extra = Vec::new();
        if let Some(logs) = self.events.get(key).and_then(|event| event.logs.as_ref()) {
            log_lines::append(&mut extra, logs);
        }
        let Some(conn) = self.conns[id.index as usize].as_deref() else {
            return super::respond::Promise { body: BodyFraming::None, keep_alive: false };
        };
        let cors_lines = cors_lines(&self.triggers, conn);
        let head = ResponseHead {
            content_type: field_of(r.content_type),
            content_length: length,
            headers,
            cors_lines,
            extra_lines: &extra,
            ..ResponseHead::new(status, asker, &self.date)
        };
        write_head(out, &head)
    }

    /// Copies a small body behind its head.
    fn append_body(
        &self,
        out: &mut Vec<u8>,
        key: EventKey,
        worker: WorkerKey,
        r: &Response,
        bytes: usize,
    ) {
        let start = out.len();
        let Some(at) = r.body_in_event_at else {
            out.resize(start + bytes, 0);
            let (map, base) = self.workers[worker].end.arena();
            let offset = base + r.block.offset as usize + r.head_bytes as usize;
            map.copy_out(offset, &mut out[start..]);
            return;
        };
        for (segment, offset, bytes) in self.event_ranges(key, at as usize, bytes) {
            let start = out.len();
            out.resize(start + bytes, 0);
            self.slots.map(segment).copy_out(offset, &mut out[start..]);
        }
    }

    /// A whole reply in one range.
    fn send_small(&mut self, id: ConnId, out: &[u8]) {
        let Some(conn) = self.conns[id.index as usize].as_deref_mut() else { return };
        let sent = if conn.out.is_empty() { send_now(conn, &[Part::Bytes(out)]) } else { Some(0) };
        match sent {
            None => self.close(id),
            Some(sent) if sent == out.len() => {}
            Some(sent) => {
                let bytes = Bytes::Private { bytes: out[sent..].to_vec(), at: 0 };
                self.queue_pieces(id, vec![Piece { bytes, done: Done::Nothing }]);
            }
        }
    }

    /// Head from `out`, body from the worker's arena.
    fn send_from_arena(
        &mut self,
        id: ConnId,
        worker: WorkerKey,
        r: &Response,
        out: &[u8],
        body_bytes: usize,
    ) {
        let (map, base) = self.workers[worker].end.arena();
        let offset = base + r.block.offset as usize + r.head_bytes as usize;
        let Some(conn) = self.conns[id.index as usize].as_deref_mut() else { return };
        let parts = [Part::Bytes(out), Part::Shared { map, offset, bytes: body_bytes }];
        let done = Done::Block { worker, block: r.block, credit: None };
        let sent = if conn.out.is_empty() { send_now(conn, &parts) } else { Some(0) };
        let Some(sent) = sent else {
            self.release_block(worker, r.block, None);
            self.close(id);
            return;
        };
        conn.moved += sent as u64;
        if sent == out.len() + body_bytes {
            self.release_block(worker, r.block, None);
            return;
        }
        let mut pieces = Ranges::new();
        if sent < out.len() {
            let bytes = Bytes::Private { bytes: out[sent..].to_vec(), at: 0 };
            pieces.push(Piece { bytes, done: Done::Nothing });
        }
        let of_body = sent.saturating_sub(out.len());
        let map = map.clone();
        let (offset, bytes) = (offset + of_body, body_bytes - of_body);
        pieces.push(Piece { bytes: Bytes::Shared { map, offset, bytes }, done });
        self.queue_pieces(id, pieces);
    }

    /// Head from `out`, body from the event's own slots: the client gets back what it sent, with no
    /// copy at all. The slots stay until it is sent.
    #[expect(clippy::too_many_arguments, reason = "as for the head")]
    fn send_from_event(
        &mut self,
        id: ConnId,
        key: EventKey,
        worker: WorkerKey,
        r: &Response,
        out: &[u8],
        at: usize,
        bytes: usize,
    ) {
        self.release_block(worker, r.block, None);
        let ranges = self.event_ranges(key, at, bytes);
        let Some(conn) = self.conns[id.index as usize].as_deref_mut() else { return };
        let mut parts = vec![Part::Bytes(out)];
        for (segment, offset, bytes) in &ranges {
            let map = self.slots.map(*segment);
            parts.push(Part::Shared { map, offset: *offset, bytes: *bytes });
        }
        let total: usize = parts.iter().map(Part::len).sum();
        let sent = if conn.out.is_empty() { send_now(conn, &parts) } else { Some(0) };
        let Some(sent) = sent else {
            self.close(id);
            return;
        };
        conn.moved += sent as u64;
        if sent == total {
            return;
        }
        let mut left = sent;
        let mut pieces = Ranges::new();
        if left < out.len() {
            let bytes = Bytes::Private { bytes: out[left..].to_vec(), at: 0 };
            pieces.push(Piece { bytes, done: Done::Nothing });
        }
        left = left.saturating_sub(out.len());
        for (segment, offset, bytes) in ranges {
            let skip = left.min(bytes);
            left -= skip;
            let map = self.slots.map(segment).clone();
            let bytes = Bytes::Shared { map, offset: offset + skip, bytes: bytes - skip };
            pieces.push(Piece { bytes, done: Done::Nothing });
        }
        if let Some(event) = self.events.get_mut(key) {
            event.holds += 1;
            let held = Bytes::Private { bytes: Vec::new(), at: 0 };
            pieces.push(Piece { bytes: held, done: Done::Hold(key) });
        }
        self.queue_pieces(id, pieces);
    }

    /// A further piece of a reply.
    pub fn respond_piece(&mut self, worker: WorkerKey, key: EventKey, claim: u64, block: Block) {
        let id = self.events.get(key).and_then(|event| event.client);
        let Some(conn) = id.and_then(|id| self.conn(id)) else {
            self.release_block(worker, block, Some(claim));
            return;
        };
        let framing = conn.framing;
        let Some(id) = id else { return };
        let (map, base) = self.workers[worker].end.arena();
        let (map, offset) = (map.clone(), base + block.offset as usize);
        let done = Done::Block { worker, block, credit: Some(claim) };
        if framing == BodyFraming::None {
            self.release_block(worker, block, Some(claim));
            return;
        }
        let mut pieces = Ranges::new();
        let own =
            |bytes: Vec<u8>| Piece { bytes: Bytes::Private { bytes, at: 0 }, done: Done::Nothing };
        if framing == BodyFraming::Chunked {
            let mut line = Vec::new();
            append_chunk_head(&mut line, u64::from(block.bytes));
            pieces.push(own(line));
        }
        let bytes = block.bytes as usize;
        pieces.push(Piece { bytes: Bytes::Shared { map, offset, bytes }, done });
        if framing == BodyFraming::Chunked {
            pieces.push(own(CHUNK_TAIL.to_vec()));
        }
        self.queue_pieces(id, pieces);
        self.send_more(id);
    }

    /// The end of a reply in pieces. A broken one is cut, so that nobody takes it for whole.
    pub fn respond_end(&mut self, key: EventKey, broken: bool) {
        let Some(id) = self.events.get(key).and_then(|event| event.client) else { return };
        let Some(conn) = self.conn(id) else { return };
        if broken {
            self.counters.connections_cut += 1;
            self.close(id);
            return;
        }
        if conn.framing == BodyFraming::Chunked {
            let bytes = Bytes::Private { bytes: LAST_CHUNK.to_vec(), at: 0 };
            self.queue_pieces(id, vec![Piece { bytes, done: Done::Nothing }]);
        }
        self.reply_complete(id);
        self.send_more(id);
    }

    /// No more pieces will be added to the reply under way.
    fn reply_complete(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        conn.event = None;
        if conn.out.is_empty() {
            self.all_sent(id);
        }
    }

    fn queue_pieces(&mut self, id: ConnId, pieces: Ranges) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        if conn.out.is_empty() {
            conn.since_ns = now;
            conn.moved = 0;
        }
        let before = conn.out.private_bytes();
        let mut pins = false;
        for piece in pieces {
            pins |= matches!(piece.done, Done::Block { .. });
            conn.out.push(piece);
        }
        let added = conn.out.private_bytes() - before;
        self.spilled_bytes += added;
        if pins {
            self.pinned.push_back((now + REPLY_PIN_NS, id));
        }
        self.queue_short(id);
    }

    /// Sends what waits on a connection.
    pub fn send_more(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        let before = conn.out.private_bytes();
        let mut done = Vec::new();
        let Conn { out, stream, .. } = conn;
        let result = out.send(stream, |d| done.push(d));
        let freed = before - conn.out.private_bytes();
        let sent_all = match result {
            Ok((bytes, all)) => {
                conn.moved += bytes as u64;
                Some(all)
            }
            Err(_) => None,
        };
        let complete = conn.event.is_none();
        self.spilled_bytes -= freed;
        for d in done {
            self.piece_done(d);
        }
        match sent_all {
            None => self.close(id),
            Some(true) if complete => self.all_sent(id),
            Some(_) => {}
        }
    }

    /// The reply is out: the connection goes on, lingers, or closes.
    fn all_sent(&mut self, id: ConnId) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        conn.since_ns = now;
        conn.lingers |= conn.upload.take().is_some();
        if conn.lingers {
            let _ = conn.stream.shutdown(std::net::Shutdown::Write);
            conn.phase = Phase::Lingering { bytes: 0 };
            conn.readable = true;
            self.queue_linger(id);
            self.look_later(id);
        } else if conn.closing {
            self.close(id);
        } else {
            conn.phase = Phase::Head;
            conn.grant = None;
            self.next_request(id);
        }
    }

    /// Whoever lent what a piece was made of gets it back.
    pub fn piece_done(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Block { worker, block, credit } => self.release_block(worker, block, credit),
            Done::Credit { worker, claim } => {
                self.release_block(worker, Block::default(), Some(claim));
            }
            Done::Hold(key) => self.drop_event_hold(key),
        }
    }

    fn release_block(&mut self, worker: WorkerKey, block: Block, credit: Option<u64>) {
        if let Some(claim) = credit {
            self.piece_taken(worker, claim);
        }
        let Some(worker) = self.workers.get_mut(worker) else { return };
        let mut rang = worker.end.release_block(block);
        if let Some(claim) = credit {
            let entry = rings::abi::Entry {
                kind: rings::abi::down::CREDIT,
                claim,
                value: 1,
                ..Default::default()
            };
            rang = worker.end.push_control(entry).and_then(|()| worker.end.publish());
        }
        // An index that makes no sense is found again, and judged, when the worker is drained.
        if let Ok(true) = rang {
            self.counters.bells_down += 1;
        }
    }

    /// Moves replies that wait for slow clients out of worker memory.
    pub fn unpin(&mut self) {
        let now = self.clock.now_ns;
        while let Some((due, id)) = self.pinned.front().copied() {
            if due > now {
                return;
            }
            self.pinned.pop_front();
            let room = REPLY_BUFFER_BYTES_MAX.saturating_sub(self.spilled_bytes);
            let Some(conn) = self.conn(id) else { continue };
            let mut done = Vec::new();
            let owes = matches!(conn.framing, BodyFraming::Chunked | BodyFraming::UntilClose);
            let moved = conn.out.spill(room, owes, |d| done.push(d));
            self.spilled_bytes += moved;
            for d in done {
                self.piece_done(d);
            }
        }
    }

    /// Whom a reply is for. While draining, a connection goes on only for requests of which
    /// something has been read already.
    pub fn asker(&self, id: ConnId) -> Asker {
        let conn = self.conns.get(id.index as usize).and_then(|conn| conn.as_deref());
        let Some(conn) = conn else { return Asker::UNKNOWN };
        let mut asker = conn.asker;
        // What is left of a body stands before any further request.
        asker.keep_alive &= conn.upload.is_none();
        asker.keep_alive &= self.draining.is_none() || conn.has_more || !conn.inbuf.is_empty();
        asker
    }

    /// A whole reply of ours: status and text.
    pub fn reply_text(&mut self, id: ConnId, status: u16, text: &[u8]) {
        self.reply_body(id, status, TEXT, text);
    }

    fn reply_body(&mut self, id: ConnId, status: u16, kind: FieldValue<'_>, body: &[u8]) {
        let asker = self.asker(id);
        let mut out = std::mem::take(&mut self.head_buf);
        out.clear();
        if let Some(conn) = self.conns[id.index as usize].as_deref() {
            let cors_lines = cors_lines(&self.triggers, conn);
            let date = &self.date;
            let error = PlainError { status, content_type: kind, body, asker, date, cors_lines };
            let promise = plain_error(&mut out, &error);
            self.count_response(status);
            self.send_own(id, &out, promise.keep_alive);
        }
        self.head_buf = out;
    }

    /// Sends whole bytes of ours as the reply.
    pub fn send_own(&mut self, id: ConnId, out: &[u8], keep_alive: bool) {
        let Some(conn) = self.conn(id) else { return };
        conn.closing = !keep_alive;
        conn.phase = Phase::Replying;
        conn.event = None;
        let bytes = Bytes::Private { bytes: out.to_vec(), at: 0 };
        self.queue_pieces(id, vec![Piece { bytes, done: Done::Nothing }]);
        self.send_more(id);
    }

    /// As [`Data::send_own`], then reads away what the client still sends, and closes.
    pub fn send_last(&mut self, id: ConnId, out: &[u8]) {
        let Some(conn) = self.conn(id) else { return };
        conn.lingers = true;
        if let Phase::Body(receiving) = std::mem::replace(&mut conn.phase, Phase::Replying) {
            let trigger = conn.trigger;
            self.drop_receiving(trigger, &receiving);
        }
        self.send_own(id, out, false);
    }

    /// No room for the event.
    pub fn refuse_full(&mut self, id: ConnId) {
        self.counters.rejected_full += 1;
        self.reply_text(id, 503, b"No worker is free and no more events can wait.");
    }

    /// Answers an event's client with a status and a text of ours, and ends the event.
    pub fn refuse_event(&mut self, key: EventKey, status: u16, text: &[u8]) {
        self.record_answer(key, status);
        let id = self.events.get(key).and_then(|event| event.client);
        if let Some(id) = id
            && let Some(conn) = self.conn(id)
        {
            if matches!(conn.phase, Phase::Replying) {
                // A part of a reply is out already: the rest must not look like its end.
                conn.event = None;
                self.counters.connections_cut += 1;
                self.close(id);
            } else if status == 408 {
                self.reply_body(id, status, JSON, HANDLER_TIMED_OUT);
            } else {
                self.reply_text(id, status, text);
            }
        }
        self.end_event(key);
    }

    /// The event is answered: it leaves its quota and gives up its own hold.
    pub fn end_event(&mut self, key: EventKey) {
        let Some(event) = self.events.get_mut(key) else { return };
        if event.place == Place::Ended {
            return;
        }
        if event.place == Place::Pending {
            self.pending_quota.give(event.trigger as usize, 1);
            self.triggers[event.trigger as usize].stale += 1;
        }
        event.place = Place::Ended;
        event.client = None;
        self.drop_event_hold(key);
    }

    /// Drops one hold on the event's slots.
    pub fn drop_event_hold(&mut self, key: EventKey) {
        if let Some(event) = drop_hold(&mut self.events, &mut self.slots, key) {
            self.slot_quota.give(event.trigger as usize, event.slot_bytes);
            self.piece_bytes -= event.incoming.map_or(0, |incoming| incoming.slot_bytes());
        }
    }

    /// Counts a reply by the hundreds of its status.
    pub fn count_response(&mut self, status: u16) {
        let class = usize::from(status / 100).min(self.counters.responses_by_class.len() - 1);
        self.counters.responses_by_class[class] += 1;
    }
}

/// What a reply on this connection says about CORS.
fn cors_lines<'a>(triggers: &'a [Trigger], conn: &'a Conn) -> &'a [u8] {
    match (&triggers[conn.trigger as usize].cors, conn.grant) {
        (Some(_), Some(Grant::Reflect)) => &conn.reflected,
        (Some(cors), Some(grant)) => cors.lines(grant),
        _ => b"",
    }
}

/// One call to the kernel; `None` = the connection is broken.
fn send_now(conn: &Conn, parts: &[Part<'_>]) -> Option<usize> {
    match send_parts(conn.stream.as_fd(), parts) {
        Ok(sent) => Some(sent),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Some(0),
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Some(0),
        Err(_) => None,
    }
}

/// The header value of a content type's number.
fn field_of(number: u8) -> Option<FieldValue<'static>> {
    match number {
        content_type::TEXT => Some(TEXT),
        content_type::JSON => Some(JSON),
        content_type::BYTES => Some(BYTES),
        content_type::HTML => Some(HTML),
        _ => None,
    }
}
