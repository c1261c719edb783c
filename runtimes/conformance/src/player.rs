//! Plays the processor for one worker: hands events down, puts replies together, holds the worker to
//! the protocol.
//!
//! A worker that answers what was not asked, twice, or with other bytes than it announced, is an
//! error here, whatever the check at hand looks at.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rings::abi::{Entry, down, down_flag, init_failed};
use rings::attach::{Offer, ProcessorHandshake, Step, TriggerOffer, socket_pair};
use rings::check::{Block, Response, Up};
use rings::limits::{ARENA_BYTES_DEFAULT, INFLIGHT_MAX};
use rings::log_ring::LogRecord;
use rings::os::realtime_ns;
use rings::processor_end::ProcessorEnd;
use rings::slots::Slots;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ask::{Ask, Written, write_event};
use crate::limits::{EVENT_MEMORY_BYTES, FACT, IN_FLIGHT, LOOK, READY};
use crate::place::{Function, Place};
use crate::replies::{Growing, Reply};
use crate::worker::{Process, is_readable};

/// What has been asked and is not over: it lacks its answer, or its slot is still looked at.
#[derive(Debug)]
struct Open {
    written: Written,
    growing: Option<Growing>,
    is_answered: bool,
    is_released: bool,
}

/// How loading the code ended.
#[derive(Debug)]
pub enum Loaded {
    Ready,
    Failed { is_usage: bool, text: String },
}

/// See the module.
pub struct Player {
    pub process: Process,
    pub end: ProcessorEnd,
    slots: Slots,
    open: HashMap<u64, Open>,
    /// Whole replies that nobody has asked for yet.
    replies: HashMap<u64, Reply>,
    skipped: Vec<u64>,
    generations: Vec<u32>,
    /// Events at once, as the worker said.
    pub concurrency: u32,
    pub version: String,
    loaded: Option<Loaded>,
    pub pongs: Vec<u32>,
    pub drained: Vec<u16>,
    pub unsupported: Vec<u16>,
    pub records: Vec<LogRecord>,
    /// Off: the log ring is left alone, as by a processor that has no time.
    pub reads_logs: bool,
    /// Off: pieces are kept, as for a client that does not read.
    pub gives_credits: bool,
    kept: VecDeque<(u64, Block)>,
    /// Credits fill the submission ring; its places come back without a ring of the bell.
    waits_for_room: bool,
}

impl Player {
    /// Starts a worker and waits until it has loaded the code, or has said why it cannot.
    pub fn start(place: &Place, function: &Function, code: &std::path::Path) -> Result<Self> {
        let (ours, theirs) = socket_pair()?;
        let process = Process::start(place.command()?, Some(theirs))?;
        let slots = Slots::new(EVENT_MEMORY_BYTES)?;
        let offer = Offer {
            code_path: code.to_string_lossy().into_owned(),
            handler: function.handler.clone(),
            function: "conformance".into(),
            namespace: "nuclio".into(),
            version: "latest".into(),
            log_level: 1,
            settings: function.settings.clone(),
            triggers: vec![TriggerOffer { id: 0, kind: "http".into(), name: "web".into() }],
            ..Offer::default()
        };
        let offer = offer.with_sizes(IN_FLIGHT, ARENA_BYTES_DEFAULT, slots.segment_bytes());
        let tags = offer.tags;
        let mut handshake = ProcessorHandshake::new(ours, offer, slots.fds());
        let end = loop {
            if let Step::Done(end) = handshake.step()? {
                break *end;
            }
            ensure!(is_readable(&handshake.socket(), READY), "no handshake with the worker");
        };
        let mut player = Self {
            process,
            version: end.runtime_version().to_owned(),
            end,
            slots,
            open: HashMap::new(),
            replies: HashMap::new(),
            skipped: Vec::new(),
            generations: vec![0; tags as usize],
            concurrency: 0,
            loaded: None,
            pongs: Vec::new(),
            drained: Vec::new(),
            unsupported: Vec::new(),
            records: Vec::new(),
            reads_logs: true,
            gives_credits: true,
            kept: VecDeque::new(),
            waits_for_room: false,
        };
        player.wait_for("READY or INIT_FAILED", READY, |player| player.loaded.is_some())?;
        Ok(player)
    }

    /// How loading ended.
    pub fn loaded(&mut self) -> Result<&Loaded> {
        self.loaded.as_ref().context("the worker has not said whether it is ready")
    }

    // --- down

    /// Hands an event down; its claim.
    pub fn send(&mut self, ask: &Ask) -> Result<u64> {
        let claim = self.push(ask, 0)?;
        self.end.publish()?;
        Ok(claim)
    }

    /// Hands events down as one batch.
    pub fn send_batch(&mut self, asks: &[Ask]) -> Result<Vec<u64>> {
        let last = asks.len() - 1;
        let mut claims = Vec::new();
        for (index, ask) in asks.iter().enumerate() {
            let is_last_in_batch = index == last;
            let flags = if is_last_in_batch { 0 } else { down_flag::BATCH_MORE };
            claims.push(self.push(&Ask { is_last_in_batch, ..ask.clone() }, flags)?);
        }
        self.end.publish()?;
        Ok(claims)
    }

    /// Several events with one store of the tail.
    pub fn send_all(&mut self, asks: &[Ask]) -> Result<Vec<u64>> {
        let claims = asks.iter().map(|ask| self.push(ask, 0)).collect::<Result<_>>()?;
        self.end.publish()?;
        Ok(claims)
    }

    fn push(&mut self, ask: &Ask, flags: u8) -> Result<u64> {
        let is_free = |tag: &u32| !self.open.keys().any(|claim| *claim as u32 == *tag);
        let tag = (0..self.generations.len() as u32).find(is_free).context("no tag is free")?;
        let generation = &mut self.generations[tag as usize];
        *generation += 1;
        let claim = u64::from(*generation) << 32 | u64::from(tag);
        let written = write_event(&mut self.slots, ask, realtime_ns())?;
        let entry = Entry { claim, flags, ..written.entry };
        if self.end.event_room()? == 0 {
            self.waits_for_room = true;
            let has_room = |player: &mut Self| player.end.event_room().is_ok_and(|room| room > 0);
            self.wait_for("room in the submission ring", FACT, has_room)?;
            self.waits_for_room = false;
        }
        self.end.push_event(&entry)?.context("the submission ring has no room for events")?;
        let open = Open { written, growing: None, is_answered: false, is_released: false };
        self.open.insert(claim, open);
        Ok(claim)
    }

    /// Sends an entry that is no event.
    pub fn control(&mut self, entry: Entry) -> Result<()> {
        self.end.push_control(entry)?;
        self.end.publish()?;
        Ok(())
    }

    pub fn cancel(&mut self, claim: u64, reason: u16) -> Result<()> {
        self.end.cancel(claim, reason)?;
        self.end.publish()?;
        Ok(())
    }

    // --- up

    /// Sends an event and waits for its whole reply.
    pub fn ask(&mut self, ask: &Ask) -> Result<Reply> {
        let claim = self.send(ask)?;
        self.reply(claim, FACT).with_context(|| format!("asked for {}", ask.path))
    }

    /// The whole reply to an event.
    pub fn reply(&mut self, claim: u64, limit: Duration) -> Result<Reply> {
        self.wait_for("a reply", limit, |player| player.replies.contains_key(&claim))?;
        self.replies.remove(&claim).context("a reply was taken twice")
    }

    pub fn has_reply(&self, claim: u64) -> bool {
        self.replies.contains_key(&claim)
    }

    pub fn was_skipped(&self, claim: u64) -> bool {
        self.skipped.contains(&claim)
    }

    /// Pieces that came and were not credited.
    pub fn pieces_kept(&self) -> usize {
        self.kept.len()
    }

    /// Events whose slot the worker may still look at, or that lack an answer.
    pub fn open_events(&self) -> usize {
        self.open.len()
    }

    /// Bytes of the arena that replies occupy.
    pub fn lent_bytes(&self) -> u32 {
        self.end.lent_bytes()
    }

    /// Takes what is there until the fact holds; an error if it does not in time, or if the worker
    /// has ended.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        mut fact: impl FnMut(&mut Self) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            let has_ended = self.process.has_ended();
            self.drain()?;
            if fact(self) {
                return Ok(());
            }
            if has_ended {
                let status = self.process.wait(Duration::ZERO)?;
                bail!("the worker ended ({status}) where {what} was due");
            }
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{what} did not come in {} s", limit.as_secs_f32());
            self.sleep(left)?;
        }
    }

    fn sleep(&mut self, left: Duration) -> Result<()> {
        // An unread log cannot be armed.
        let looks = self.waits_for_room || !self.reads_logs;
        let most = if looks { left.min(LOOK) } else { left };
        if self.reads_logs && !self.end.arm() {
            return Ok(());
        }
        let bell = self.end.up_bell();
        let mut fds =
            [PollFd::new(&bell, PollFlags::IN), PollFd::new(&self.process.ended, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(most).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.end.take_rings();
        Ok(())
    }

    /// Takes all that is there.
    pub fn drain(&mut self) -> Result<()> {
        while let Some(up) = self.end.next_up()? {
            self.take(up)?;
        }
        while self.reads_logs
            && let Some(record) = self.end.next_log()?
        {
            self.records.push(record);
        }
        self.end.release_entries();
        self.end.release_if_awaited()?;
        Ok(())
    }

    fn take(&mut self, up: Up) -> Result<()> {
        match up {
            Up::Ready { concurrency } => {
                ensure!(self.loaded.is_none(), "READY came twice");
                ensure!(concurrency <= INFLIGHT_MAX, "READY with {concurrency} events at once");
                self.concurrency = concurrency.min(IN_FLIGHT);
                self.loaded = Some(Loaded::Ready);
            }
            Up::InitFailed { reason, block } => {
                let text = self.copied(block, 0);
                self.end.release_block(block)?;
                let text = String::from_utf8(text).context("INIT_FAILED is not UTF-8")?;
                let is_usage = reason == init_failed::USAGE;
                self.loaded = Some(Loaded::Failed { is_usage, text });
            }
            Up::Response(response) => self.begin_reply(&response)?,
            Up::Chunk { claim, block } => self.piece(claim, block)?,
            Up::End { claim, broken, .. } => {
                let growing = self.open_of(claim)?.growing.as_mut();
                growing.context("the end of a reply that has no beginning")?.end(broken)?;
                self.settle_claim(claim);
            }
            Up::RequestReleased { claim } => {
                let open = self.open_of(claim)?;
                ensure!(!open.is_released, "a slot was given back twice");
                open.is_released = true;
                self.settle_claim(claim);
            }
            Up::Skipped { claim } => {
                let open = self.open_of(claim)?;
                ensure!(open.growing.is_none(), "an event was answered and skipped");
                (open.is_answered, open.is_released) = (true, true);
                self.skipped.push(claim);
                self.settle_claim(claim);
            }
            Up::BodyTaken { .. } => bail!("BODY_TAKEN for an event whose body came whole"),
            Up::Pong(number) => self.pongs.push(number),
            Up::Drained(trigger) => self.drained.push(trigger),
            Up::Unsupported(kind) => self.unsupported.push(kind),
        }
        Ok(())
    }

    fn open_of(&mut self, claim: u64) -> Result<&mut Open> {
        self.open.get_mut(&claim).with_context(|| format!("claim {claim:#x} is not open"))
    }

    fn begin_reply(&mut self, response: &Response) -> Result<()> {
        let head = self.copied_to(response.block, 0, response.head_bytes as usize);
        let claim = response.claim;
        let open = self.open.get(&claim);
        let open = open.with_context(|| format!("an answer to claim {claim:#x}, not open"))?;
        ensure!(open.growing.is_none() && !open.is_answered, "a second answer to an event");
        let body = match response.body_in_event_at {
            Some(at) => open
                .written
                .part(&self.slots, at as usize, response.body_bytes as usize)
                .context("a reply that is no part of the event's own body")?,
            None => self.copied(response.block, response.head_bytes as usize),
        };
        self.end.release_block(response.block)?;
        let growing = Growing::begin(response, &head, body)?;
        let open = self.open_of(claim)?;
        open.growing = Some(growing);
        open.is_released |= response.released;
        self.settle_claim(claim);
        Ok(())
    }

    fn piece(&mut self, claim: u64, block: Block) -> Result<()> {
        let bytes = self.copied(block, 0);
        let growing = self.open_of(claim)?.growing.as_mut();
        growing.context("a piece of a reply that has no beginning")?.piece(&bytes)?;
        self.kept.push_back((claim, block));
        if self.gives_credits { self.give_credits() } else { Ok(()) }
    }

    /// Gives back all pieces, as when the client has read them.
    pub fn give_credits(&mut self) -> Result<()> {
        while let Some((claim, block)) = self.kept.pop_front() {
            self.end.release_block(block)?;
            let (kind, value) = (down::CREDIT, 1);
            self.end.push_control(Entry { kind, value, claim, ..Entry::default() })?;
        }
        self.end.publish()?;
        Ok(())
    }

    /// An event that is answered and whose slot came back is over.
    fn settle_claim(&mut self, claim: u64) {
        let Some(open) = self.open.get_mut(&claim) else { return };
        if let Some(growing) = &mut open.growing
            && growing.is_whole
            && !open.is_answered
        {
            open.is_answered = true;
            self.replies.insert(claim, std::mem::take(&mut growing.reply));
        }
        if open.is_answered && open.is_released {
            for slot in &open.written.slots {
                self.slots.release(*slot);
            }
            self.open.remove(&claim);
        }
    }

    fn copied(&self, block: Block, from: usize) -> Vec<u8> {
        self.copied_to(block, from, block.bytes as usize)
    }

    fn copied_to(&self, block: Block, from: usize, to: usize) -> Vec<u8> {
        let mut bytes = vec![0; to];
        self.end.copy_block(block, &mut bytes);
        bytes.split_off(from)
    }
}
