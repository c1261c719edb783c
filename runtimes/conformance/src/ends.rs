//! What every runtime is held to at its workers' ends: code that cannot be served, STOP, death, and a
//! processor that is gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rings::abi::{Entry, down};

use crate::ask::Ask;
use crate::bodies::pattern;
use crate::checks::is_echo;
use crate::limits::{END, FACT};
use crate::player::{Loaded, Player};
use crate::session::Session;
use crate::worker::Process;

/// Code that cannot be a function, and a worker that nobody started: a sentence each.
pub fn broken_code(session: &mut Session<'_>) -> Result<()> {
    let broken = session.function.broken.as_ref();
    let broken = broken.context("conformance.toml names no `broken` file for this function")?;
    let mut player = Player::start(session.place, session.function, broken)?;
    match player.loaded()? {
        Loaded::Ready => anyhow::bail!("{} was loaded", broken.display()),
        Loaded::Failed { is_usage, text } => {
            ensure!(!text.trim().is_empty(), "INIT_FAILED does not say why");
            ensure!(*is_usage, "INIT_FAILED says that the code ran and failed: {text}");
        }
    }
    let mut by_hand = Process::start(session.place.command()?, None)?;
    let status = by_hand.wait(FACT)?;
    ensure!(!status.success(), "started without a processor it ends with {status}");
    ensure!(!by_hand.last_words().trim().is_empty(), "started without a processor it says nothing");
    Ok(())
}

/// As many events in flight as the worker takes, with bodies of their own.
fn in_flight(player: &mut Player, path: &str) -> Result<Vec<(u64, Vec<u8>)>> {
    let bodies = (0..player.concurrency.min(16)).map(|n| pattern(3000 * n as usize, n));
    let asks: Vec<Ask> = bodies.map(|body| Ask::with_body(path, body)).collect();
    let claims = player.send_all(&asks)?;
    Ok(claims.into_iter().zip(asks.into_iter().map(|ask| ask.body)).collect())
}

/// What a killed worker has published counts, and is right; nothing of it is left.
pub fn kill(session: &mut Session<'_>) -> Result<()> {
    for round in 0..3 {
        let mut player = session.fresh()?;
        let claims = in_flight(&mut player, if round == 0 { "/sleep" } else { "/echo" })?;
        if round == 2 {
            player.wait_for("an answer", FACT, |player| player.has_reply(claims[0].0))?;
        }
        player.process.kill();
        let status = player.process.wait(END)?;
        ensure!(!status.success(), "a killed worker ends with {status}");
        player.drain().context("the rings of a killed worker")?;
        for (claim, body) in claims {
            if player.has_reply(claim) {
                is_echo(&player.reply(claim, Duration::ZERO)?, &body)?;
            }
        }
        ensure!(player.process.leaves_nothing(END)?, "a killed worker has left processes");
    }
    Ok(())
}

/// STOP: what is in flight is answered, then the worker ends well.
pub fn stop(session: &mut Session<'_>) -> Result<()> {
    let mut player = session.fresh()?;
    let claims = in_flight(&mut player, "/sleep")?;
    player.control(Entry { kind: down::STOP, ..Entry::default() })?;
    for (claim, body) in claims {
        is_echo(&player.reply(claim, FACT)?, &body)?;
    }
    let status = player.process.wait(END)?;
    ensure!(status.success(), "after STOP it ends with {status}");
    ensure!(player.process.leaves_nothing(END)?, "after STOP it has left processes");
    Ok(())
}

/// The bell's end of file is the processor's death: nobody is left to work for.
pub fn gone(session: &mut Session<'_>) -> Result<()> {
    let Player { mut process, end, .. } = session.fresh()?;
    drop(end);
    process.wait(END).context("its processor is gone")?;
    ensure!(process.leaves_nothing(END)?, "without its processor it has left processes");
    Ok(())
}
