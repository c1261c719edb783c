//! Decides what happens after a handler has answered, failed or died.
//!
//! Pure: no clock, no I/O. Knows the class of an event, never its source.

use rings::abi::outcome;

use crate::limits::REQUEST_ATTEMPTS_MAX;

/// How an event ended in its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The worker answered with one of [`outcome`] and a status (0 = none given).
    Answered { outcome: u8, status: u16 },
    /// The worker died before it began the event.
    DiedBefore,
    /// The worker died while it had the event.
    DiedWithin,
    /// The deadline passed.
    Expired,
}

/// What is to be done for an event of the class request/reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Give the client this status with the worker's head and body.
    Reply { status: u16 },
    /// Give the event to a worker again; `counts` = as a further attempt.
    Again { counts: bool },
    /// Give the client this status with a text of ours.
    Refuse { status: u16 },
}

/// The facts about a request that the decision needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Attempts begun so far, 1 for the first.
    pub attempt: u16,
    /// Its method, or its trigger's setting, allows to run it twice.
    pub idempotent: bool,
    /// A part of a reply has reached the client.
    pub reply_begun: bool,
}

/// The verdict for the class request/reply (contract, section 5).
pub fn request_reply(end: End, request: Request) -> Action {
    match end {
        End::Answered { outcome, status } => Action::Reply { status: status_of(outcome, status) },
        End::Expired => Action::Refuse { status: 408 },
        End::DiedBefore => Action::Again { counts: false },
        End::DiedWithin => {
            let may_repeat = request.idempotent && !request.reply_begun;
            if may_repeat && request.attempt < REQUEST_ATTEMPTS_MAX {
                Action::Again { counts: true }
            } else {
                Action::Refuse { status: 502 }
            }
        }
    }
}

/// The status of an answer that may name none.
fn status_of(outcome: u8, status: u16) -> u16 {
    match (outcome, status) {
        (_, 200..) => status,
        (outcome::OK, _) => 200,
        (outcome::RETRY, _) => 503,
        (outcome::REJECT, _) => 422,
        (outcome::DEFERRED, _) => 202,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attempt: u16, idempotent: bool, reply_begun: bool) -> Request {
        Request { attempt, idempotent, reply_begun }
    }

    #[test]
    fn a_death_is_repeated_once_and_only_where_it_is_safe() {
        let again = Action::Again { counts: true };
        let gone = Action::Refuse { status: 502 };
        for (attempt, idempotent, begun, expected) in [
            (1, true, false, again),
            (2, true, false, gone),
            (1, false, false, gone),
            (1, true, true, gone),
            (2, false, true, gone),
        ] {
            let verdict = request_reply(End::DiedWithin, request(attempt, idempotent, begun));
            assert_eq!(verdict, expected, "attempt {attempt} idempotent {idempotent} {begun}");
        }
    }

    #[test]
    fn what_was_not_begun_is_always_given_again_uncounted() {
        for (attempt, idempotent) in [(1, false), (1, true), (2, false)] {
            let verdict = request_reply(End::DiedBefore, request(attempt, idempotent, false));
            assert_eq!(verdict, Action::Again { counts: false });
        }
    }

    #[test]
    fn every_answer_has_a_final_status() {
        for outcome in outcome::OK..=outcome::DEFERRED {
            for status in [0, 100, 199, 200, 404, 599] {
                let end = End::Answered { outcome, status };
                let Action::Reply { status } = request_reply(end, request(1, false, false)) else {
                    panic!("an answer is a reply");
                };
                assert!((200..=599).contains(&status));
            }
        }
    }

    #[test]
    fn a_deadline_is_408_whatever_the_method() {
        let verdict = request_reply(End::Expired, request(1, true, false));
        assert_eq!(verdict, Action::Refuse { status: 408 });
    }
}
