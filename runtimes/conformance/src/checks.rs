//! What every runtime is held to while its workers live; ends are in `ends.rs`.
//!
//! What the functions do at each path is said in README.md.

use anyhow::{Context, Result, ensure};
use rings::abi::{Entry, down, outcome};
use rings::limits::STREAM_PIECES_MAX;

use crate::ask::Ask;
use crate::bodies::pattern;
use crate::ends;
use crate::limits::{CANCEL, FACT};
use crate::player::Player;
use crate::replies::Reply;
use crate::session::Session;

/// A check; an error says what was wrong.
pub type Check = fn(&mut Session<'_>) -> Result<()>;

/// All checks, in the order they run.
pub fn all() -> [(&'static str, Check); 22] {
    [
        ("attach", attach),
        ("echo", echo),
        ("many", many),
        ("headers", headers),
        ("status", status),
        ("errors", errors),
        ("logs", logs),
        ("output", output),
        ("log_flood", log_flood),
        ("large_replies", large_replies),
        ("streams", streams),
        ("broken_streams", broken_streams),
        ("leaving_clients", leaving_clients),
        ("cancel", cancel),
        ("recall", recall),
        ("batches", batches),
        ("kept_views", kept_views),
        ("controls", controls),
        ("broken_code", ends::broken_code),
        ("kill", ends::kill),
        ("stop", ends::stop),
        ("gone", ends::gone),
    ]
}

/// Bodies in a slot, of their own slots, and over many.
const SIZES: [usize; 13] =
    [0, 1, 255, 4096, 8192, 8193, 16384, 16385, 65536, 1 << 20, (1 << 20) + 1, 5 << 20, 64 << 20];
const INFO: u8 = 1;
const ERROR: u8 = 3;
/// Deadline, and the client left: reasons of CANCEL.
const DEADLINE: u16 = 0;
const LEFT: u16 = 1;
/// A kind from the optional range that nobody knows.
const UNKNOWN_KIND: u8 = 200;

/// The body came back, unchanged.
pub fn is_echo(reply: &Reply, body: &[u8]) -> Result<()> {
    ensure!(reply.status == 200, "status {} with {:?}", reply.status, reply.text());
    let (have, want) = (reply.body.len(), body.len());
    ensure!(have == want, "{have} bytes came back, not {want}");
    ensure!(reply.body == body, "a body of {want} bytes came back changed");
    Ok(())
}

fn is_served(player: &mut Player) -> Result<()> {
    is_echo(&player.ask(&Ask::with_body("/echo", b"next".to_vec()))?, b"next")
        .context("the event behind it")
}

fn attach(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    ensure!(!player.version.is_empty(), "HELLO gives no version of the language");
    Ok(())
}

fn echo(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    for (seed, size) in SIZES.into_iter().enumerate() {
        let body = pattern(size, seed as u32);
        is_echo(&player.ask(&Ask::with_body("/echo", body.clone()))?, &body)?;
    }
    Ok(())
}

fn many(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    let at_once = player.concurrency.max(8);
    for round in 0..20 {
        let sizes = (0..at_once).map(|n| (n * 997 + round * 131) % 40_000);
        let bodies: Vec<Vec<u8>> = sizes
            .enumerate()
            .map(|(n, size)| pattern(size as usize, round << 8 | n as u32))
            .collect();
        let asks: Vec<Ask> =
            bodies.iter().map(|body| Ask::with_body("/echo", body.clone())).collect();
        for (claim, body) in player.send_all(&asks)?.into_iter().zip(&bodies) {
            is_echo(&player.reply(claim, FACT)?, body)?;
        }
    }
    Ok(())
}

fn headers(session: &mut Session<'_>) -> Result<()> {
    let ask = Ask::of("/headers")
        .header(b"X-In", b"one")
        .header(b"x-IN", b"")
        .header(b"X-In", b"caf\xe9")
        .header(b"Other", b"no");
    let reply = session.player()?.ask(&ask)?;
    ensure!(reply.status == 200, "status {} with {:?}", reply.status, reply.text());
    let seen = reply.values("X-Seen");
    ensure!(seen.len() == 3, "of three values of X-In {} came back", seen.len());
    ensure!(seen[..2] == [&b"one"[..], b""], "values of X-In came back changed: {seen:?}");
    // A byte that is no UTF-8 may be shown as the character of its number.
    let shown = ["caf\u{e9}".as_bytes(), b"caf\xe9"];
    ensure!(shown.contains(&seen[2]), "the byte E9 of a header came back as {:?}", seen[2]);
    let repeated = reply.values("X-Out");
    ensure!(repeated == [&b"a"[..], b"b"], "repeated headers of a reply are {repeated:?}");
    let empty = reply.values("X-Empty");
    ensure!(empty == [&b""[..]], "the empty header of a reply is {empty:?}");
    Ok(())
}

fn status(session: &mut Session<'_>) -> Result<()> {
    for status in [204, 404, 418, 599] {
        let reply = session.player()?.ask(&Ask::of(&format!("/status/{status}")))?;
        ensure!(reply.status == status, "status {}, not {status}", reply.status);
    }
    Ok(())
}

fn errors(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    for _ in 0..3 {
        let claim = player.send(&Ask::of("/error"))?;
        let reply = player.reply(claim, FACT)?;
        ensure!(reply.outcome == outcome::ERROR, "the outcome is {}, not ERROR", reply.outcome);
        ensure!(reply.status == 500, "the status is {}, not 500", reply.status);
        let told = reply.text();
        ensure!(told.contains("on purpose"), "the reply does not say what failed: {told:?}");
        let record = |player: &Player| {
            player.records.iter().any(|r| r.head.claim == claim && r.head.level == ERROR)
        };
        ensure!(record(player), "no record of level error belongs to the event that failed");
        is_served(player)?;
    }
    Ok(())
}

/// A record of the event that was there when its reply was.
fn recorded(player: &mut Player, path: &str, text: &str) -> Result<u8> {
    let claim = player.send(&Ask::of(path))?;
    player.reply(claim, FACT)?;
    let has_text = |message: &[u8]| String::from_utf8_lossy(message).contains(text);
    let mut records = player.records.iter().filter(|record| record.head.claim == claim);
    let found = records.find(|record| has_text(&record.message));
    Ok(found.with_context(|| format!("no record {text:?} came with its event's reply"))?.head.level)
}

fn logs(session: &mut Session<'_>) -> Result<()> {
    let level = recorded(session.player()?, "/log", "logged by the handler")?;
    ensure!(level == INFO, "what was logged as info has level {level}");
    Ok(())
}

fn output(session: &mut Session<'_>) -> Result<()> {
    recorded(session.player()?, "/print", "printed by the handler").map(|_| ())
}

/// A log that nobody reads never holds a handler up.
fn log_flood(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    player.reads_logs = false;
    let flooded = player.ask(&Ask::of("/logs/5000"));
    player.reads_logs = true;
    flooded?;
    player.drain()?;
    let dropped = player.end.newly_dropped_logs();
    ensure!(dropped > 0, "5000 records fitted into the log ring: none was dropped and counted");
    is_served(player)
}

fn large_replies(session: &mut Session<'_>) -> Result<()> {
    const BYTES: usize = 20_000_000;
    let player = session.player()?;
    let large = Ask::of(&format!("/size/{BYTES}"));
    let small = Ask::with_body("/echo", b"small".to_vec());
    for _ in 0..3 {
        let mut asks = vec![large.clone(), large.clone()];
        asks.extend(vec![small.clone(); player.concurrency as usize]);
        let claims = player.send_all(&asks)?;
        for (index, claim) in claims.into_iter().enumerate() {
            let reply = player.reply(claim, FACT)?;
            if index < 2 {
                let (bytes, same) = (reply.body.len(), reply.body.iter().all(|b| *b == b'x'));
                ensure!(bytes == BYTES && same, "a reply of {bytes} bytes, not {BYTES}");
                ensure!(!reply.is_stream && !reply.is_broken, "its length was not announced");
            } else {
                is_echo(&reply, b"small")?;
            }
        }
    }
    Ok(())
}

/// What `/stream/N` sends.
fn pieces(count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("piece {number}\n").into_bytes()).collect()
}

/// Whole, and not faster than its client reads.
fn streams(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    for count in [0, 1, 40] {
        let reply = player.ask(&Ask::of(&format!("/stream/{count}")))?;
        ensure!(reply.is_stream && !reply.is_broken, "the reply is no stream, or was broken off");
        ensure!(reply.body == pieces(count), "a stream of {count} pieces is {:?}", reply.text());
    }
    player.gives_credits = false;
    let claim = player.send(&Ask::of("/stream/500"))?;
    player.wait_for("the first pieces", FACT, |player| player.pieces_kept() > 0)?;
    player.control(Entry { kind: down::PING, value: 77, ..Entry::default() })?;
    player.wait_for("PONG from within a stream", FACT, |player| player.pongs.contains(&77))?;
    player.pongs.clear();
    let most = STREAM_PIECES_MAX as usize;
    let ahead = player.pieces_kept();
    ensure!(ahead <= most, "{ahead} pieces were sent ahead, {most} are allowed");
    player.gives_credits = true;
    player.give_credits()?;
    let reply = player.reply(claim, FACT)?;
    ensure!(reply.body == pieces(500) && !reply.is_broken, "a slowly read stream is not whole");
    Ok(())
}

fn broken_streams(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    let reply = player.ask(&Ask::of("/stream-broken"))?;
    ensure!(reply.is_stream && reply.is_broken, "a stream that failed looks whole");
    ensure!(reply.body.starts_with(b"piece 0\n"), "it began with {:?}", reply.text());
    is_served(player)
}

fn leaving_clients(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    player.gives_credits = false;
    let claim = player.send(&Ask::of("/stream/1000000"))?;
    player.wait_for("the first pieces", FACT, |player| player.pieces_kept() > 0)?;
    player.cancel(claim, LEFT)?;
    player.gives_credits = true;
    player.give_credits()?;
    let reply = player.reply(claim, FACT).context("a stream whose client left does not end")?;
    ensure!(reply.body.len() < pieces(1_000_000).len(), "it went on for nobody, to its end");
    is_served(player)
}

fn cancel(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    ensure!(player.concurrency > 1, "READY said one event at a time, which the processor ends");
    let hanging = vec![Ask::of("/hang"); 10];
    let claims = player.send_all(&hanging)?;
    is_served(player).context("while others hang")?;
    for claim in &claims {
        ensure!(!player.has_reply(*claim), "/hang was answered");
        player.cancel(*claim, DEADLINE)?;
    }
    for claim in claims {
        player.reply(claim, CANCEL).context("a cancelled event did not end")?;
    }
    is_served(player)
}

/// What is taken back comes back or is answered, never both, never neither.
fn recall(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    for round in 0..5 {
        let mut asks = vec![Ask::with_body("/sleep", b"0".to_vec())];
        asks.extend((1..20).map(|n| Ask::with_body("/echo", format!("{round} {n}").into_bytes())));
        let claims = player.send_all(&asks)?;
        player.end.recall();
        for (claim, ask) in claims.iter().zip(&asks) {
            player.wait_for("an answer or SKIPPED", FACT, |player| {
                player.has_reply(*claim) || player.was_skipped(*claim)
            })?;
            if player.has_reply(*claim) {
                is_echo(&player.reply(*claim, FACT)?, &ask.body)?;
            }
        }
        is_served(player)?;
    }
    Ok(())
}

fn batches(session: &mut Session<'_>) -> Result<()> {
    let takes_batches = session.place.runtime.batches;
    let player = session.player()?;
    for count in [1, 2, 5, 32] {
        let asks: Vec<Ask> =
            (0..count).map(|n| Ask::with_body("/echo", pattern(n * 700, n as u32))).collect();
        let claims = player.send_batch(&asks)?;
        for (claim, ask) in claims.into_iter().zip(&asks) {
            let reply = player.reply(claim, FACT)?;
            is_echo(&reply, &ask.body)?;
            let (said, size) = (reply.values("X-Batch"), count.to_string());
            if takes_batches {
                ensure!(said == [size.as_bytes()], "a batch of {size} was handled as {said:?}");
            }
        }
    }
    is_served(player)
}

/// What a handler keeps of an event never becomes that of another.
fn kept_views(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    let kept = pattern(20_000, 4242);
    player.ask(&Ask::with_body("/keep", kept.clone()))?;
    for seed in 0..200 {
        let body = pattern(20_000, seed);
        is_echo(&player.ask(&Ask::with_body("/echo", body.clone()))?, &body)?;
    }
    is_echo(&player.ask(&Ask::of("/kept"))?, &kept).context("a kept body")?;
    player.ask(&Ask::of("/forget"))?;
    Ok(())
}

fn controls(session: &mut Session<'_>) -> Result<()> {
    let player = session.player()?;
    player.control(Entry { kind: down::PING, value: 9, ..Entry::default() })?;
    player.wait_for("PONG", FACT, |player| player.pongs.contains(&9))?;
    player.control(Entry { kind: down::DRAIN, aux: 0, ..Entry::default() })?;
    player.wait_for("DRAINED", FACT, |player| player.drained.contains(&0))?;
    player.control(Entry { kind: UNKNOWN_KIND, ..Entry::default() })?;
    let kind = u16::from(UNKNOWN_KIND);
    player.wait_for("UNSUPPORTED", FACT, |player| player.unsupported.contains(&kind))?;
    is_served(player)
}
