//! One function under test, and the worker that most checks share.

use anyhow::{Context, Result, bail, ensure};

use crate::limits::FACT;
use crate::place::{Function, Place};
use crate::player::{Loaded, Player};

/// See the module.
pub struct Session<'a> {
    pub place: &'a Place,
    pub function: &'a Function,
    player: Option<Player>,
    /// What the last worker printed, once it is gone.
    words: String,
}

impl<'a> Session<'a> {
    pub fn new(place: &'a Place, function: &'a Function) -> Result<Self> {
        Ok(Self { place, function, player: None, words: String::new() })
    }

    /// The worker at hand, or a new one.
    pub fn player(&mut self) -> Result<&mut Player> {
        if self.player.is_none() {
            self.player = Some(self.fresh()?);
        }
        self.player.as_mut().context("no worker")
    }

    /// A worker of its own for checks that end it.
    pub fn fresh(&mut self) -> Result<Player> {
        let mut player = Player::start(self.place, self.function, &self.function.code)?;
        if let Loaded::Failed { text, .. } = player.loaded()? {
            let text = text.clone();
            self.words = player.process.last_words();
            bail!("the worker cannot load {}: {text}", self.function.code.display());
        }
        ensure!(player.concurrency > 0, "READY came without a number");
        Ok(player)
    }

    /// After a check nothing is open, lent or kept.
    pub fn settle(&mut self) -> Result<()> {
        let Some(player) = &mut self.player else { return Ok(()) };
        player.wait_for("the end of all holds", FACT, |player| {
            player.open_events() == 0 && player.lent_bytes() == 0
        })
    }

    /// After a failure the next check has a new worker.
    pub fn abandon(&mut self) {
        if let Some(mut player) = self.player.take() {
            self.words = player.process.last_words();
        }
    }

    /// What the worker printed, indented.
    pub fn last_words(&mut self) -> String {
        if let Some(player) = &mut self.player {
            self.words = player.process.last_words();
        }
        self.words.lines().map(|line| format!("        | {line}\n")).collect()
    }
}
