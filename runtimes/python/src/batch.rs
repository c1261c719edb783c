//! Several events in one call of the handler: a list goes in, an answer for each must come out.
//!
//! Each event is answered by itself. An answer that names no event of the batch, and a place in the
//! list that may be another's, never reach a client: the events without a sure answer fail, alone.

use std::collections::HashMap;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyList;
use shim::{Level, Origin, ShimError};

use crate::event::{Event, Field};
use crate::finish::{self, Ended, Turn};
use crate::link::{self, Link};
use crate::output;
use crate::reply::Answer;
use crate::response::Response;

const UNANSWERED: &str = "the handler gave no answer for this event";
/// Misplaced answers of one batch that are named in the log; the rest is counted.
const MISPLACED_NAMED_MAX: usize = 8;

/// The events of one batch, and who must be answered.
pub struct Batch {
    turns: Vec<Turn>,
    events: Vec<Py<Event>>,
}

/// Which answer belongs to which event.
pub struct Sorted<'py> {
    pub answers: Vec<Option<Bound<'py, PyAny>>>,
    /// What the events without one are told.
    pub missing: String,
    /// What the log is told of answers that belong to no event.
    pub warnings: Vec<String>,
}

impl Batch {
    pub fn new(py: Python<'_>, events: Vec<shim::Event>) -> PyResult<Self> {
        let turns: Vec<Turn> = events.iter().map(Turn::of).collect();
        turns.iter().for_each(|turn| link::want_from(turn.wanted_level));
        let object = |event| Py::new(py, Event::of_slot(event));
        Ok(Self { turns, events: events.into_iter().map(object).collect::<PyResult<_>>()? })
    }

    /// What the handler gets.
    pub fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.events.iter().map(|event| event.bind(py)))
    }

    /// Each claim, in the order of the events.
    pub fn claims(&self) -> Vec<u64> {
        self.turns.iter().map(|turn| turn.claim).collect()
    }

    /// Whose records the handler writes: of several events nobody can tell.
    pub fn current_claim(&self) -> u64 {
        if let [only] = self.turns.as_slice() { only.claim } else { 0 }
    }

    /// Answers every event with what the handler returned or raised. True if a loop that sleeps on
    /// the bell must poll again.
    pub fn finish<'py>(
        self,
        link: &Link,
        py: Python<'py>,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> Result<bool, ShimError> {
        finish::leave_if_child();
        let claim = self.current_claim();
        if claim == 0 {
            output::flush_of_thread(link);
        }
        match result {
            Ok(value) => match value.cast::<PyList>() {
                Ok(list) => {
                    let sorted = sort(&self.events, list);
                    for warning in &sorted.warnings {
                        link.log(Level::Warn, Origin::Logger, claim, warning.as_bytes(), b"");
                    }
                    self.finish_each(link, py, sorted)
                }
                Err(_) => {
                    let text = wrong_kind(&value);
                    link.log(Level::Error, Origin::Traceback, claim, text.as_bytes(), b"");
                    self.finish_all(link, py, &finish::error_answer(text.clone(), text))
                }
            },
            Err(error) => {
                // What the exception keeps alive must be gone before the events are.
                let error = error.into_value(py).into_bound(py);
                let first = self.events[0].bind(py).get();
                let answer = finish::failed(link, first, claim, &error);
                self.finish_all(link, py, &answer)
            }
        }
    }

    fn finish_all(
        self,
        link: &Link,
        py: Python<'_>,
        answer: &Answer<'_>,
    ) -> Result<bool, ShimError> {
        let mut poll_again = false;
        for (turn, event) in self.turns.into_iter().zip(self.events) {
            poll_again |= finish::finish_with(link, turn, event.into_bound(py), answer)?;
        }
        Ok(poll_again)
    }

    fn finish_each<'py>(
        self,
        link: &Link,
        py: Python<'py>,
        sorted: Sorted<'py>,
    ) -> Result<bool, ShimError> {
        let missing = || finish::error_answer(sorted.missing.clone(), sorted.missing.clone());
        let mut poll_again = false;
        for ((turn, event), answer) in self.turns.into_iter().zip(self.events).zip(sorted.answers) {
            let event = event.into_bound(py);
            poll_again |= match answer {
                // As `asyncio.gather(.., return_exceptions=True)` gives them.
                Some(answer) if answer.is_instance_of::<PyBaseException>() => {
                    whole(finish::finish(link, turn, event, Err(PyErr::from_value(answer))))
                }
                Some(answer) => whole(finish::finish(link, turn, event, Ok(answer))),
                None => {
                    let text = sorted.missing.as_bytes();
                    link.log(Level::Error, Origin::Traceback, turn.claim, text, b"");
                    finish::finish_with(link, turn, event, &missing())
                }
            }?;
        }
        Ok(poll_again)
    }
}

/// Gives each event its answer: by the id that an answer names, else by its place, which counts
/// only in a list that is as long as the batch.
pub fn sort<'py>(events: &[Py<Event>], list: &Bound<'py, PyList>) -> Sorted<'py> {
    let py = list.py();
    let (mut answers, mut missing) = (vec![None; events.len()], UNANSWERED.to_owned());
    let mut misplaced = Vec::new();
    let mut by_place = Vec::new();
    let mut numbers = None;
    for (place, item) in list.iter().enumerate() {
        let Some(id) = event_id_of(&item) else {
            by_place.push((place, item));
            continue;
        };
        let numbers = numbers.get_or_insert_with(|| numbers_of(py, events));
        match numbers.get(&id).map(|number| &mut answers[*number]) {
            Some(answer) if answer.is_none() => *answer = Some(item),
            Some(_) => misplaced.push(format!("a second answer for event {id}")),
            None => misplaced.push(format!("an answer for event {id}, which it was not given")),
        }
    }
    if list.len() == events.len() {
        for (place, item) in by_place {
            match &mut answers[place] {
                answer @ None => *answer = Some(item),
                Some(_) => misplaced.push(format!("a second answer at place {place}")),
            }
        }
    } else if !by_place.is_empty() {
        missing = format!(
            "the handler returned {} answers for {} events: return one for each in their order, \
             or context.Response(event_id=event.id)",
            list.len(),
            events.len()
        );
    }
    Sorted { answers, missing, warnings: warnings(&misplaced) }
}

/// The number of each event by its id.
fn numbers_of(py: Python<'_>, events: &[Py<Event>]) -> HashMap<String, usize> {
    let id = |event: &Py<Event>| {
        let id = Event::read(event.bind(py), Field::Id).and_then(|id| id.str());
        id.map(|id| id.to_string_lossy().into_owned()).unwrap_or_default()
    };
    events.iter().enumerate().map(|(number, event)| (id(event), number)).collect()
}

fn warnings(misplaced: &[String]) -> Vec<String> {
    let named = misplaced.iter().take(MISPLACED_NAMED_MAX);
    let mut said: Vec<String> =
        named.map(|what| format!("the handler returned {what}; it is dropped")).collect();
    if misplaced.len() > MISPLACED_NAMED_MAX {
        let rest = misplaced.len() - MISPLACED_NAMED_MAX;
        said.push(format!("the handler returned {rest} more answers that belong to no event"));
    }
    said
}

fn event_id_of(item: &Bound<'_, PyAny>) -> Option<String> {
    let response = item.cast::<Response>().ok()?;
    let id = response.try_borrow().ok()?.event_id(item.py())?;
    id.str().ok().map(|id| id.to_string_lossy().into_owned())
}

/// What is told of a result that is no list.
pub fn wrong_kind(value: &Bound<'_, PyAny>) -> String {
    let class = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    format!(
        "the handler of a batch returned a {class}: return a list with an answer for each event"
    )
}

/// One batch of a sync handler.
pub fn serve(
    link: &Link,
    handler: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
    events: Vec<shim::Event>,
) -> Result<(), ShimError> {
    let py = handler.py();
    let no_memory = |_| ShimError::Protocol("no memory for a batch");
    let batch = Batch::new(py, events).map_err(no_memory)?;
    link::set_current_claim(batch.current_claim());
    let list = batch.list(py).map_err(no_memory)?;
    let result = handler.call1((context, list));
    batch.finish(link, py, result)?;
    link::set_current_claim(0);
    Ok(())
}

/// An answer of a batch comes whole; one in pieces is dropped, which fails its event and says so.
fn whole(ended: Result<Ended, ShimError>) -> Result<bool, ShimError> {
    match ended? {
        Ended::Done(poll_again) => Ok(poll_again),
        Ended::Streams(stream) => {
            drop(stream);
            Ok(false)
        }
    }
}
