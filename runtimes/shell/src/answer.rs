//! What a client is told: the program's output, or why there is none.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use shim::abi::{content_type, outcome};
use shim::{HeadBlock, Reply, ReplyBody};

use crate::settings::Settings;

/// Told instead of the reason where `errorDetail` is `none`.
const NO_DETAIL: &[u8] = b"the function failed";

/// 200 with what the program wrote.
pub fn of_output<'a>(settings: &'a Settings, output: &'a [u8]) -> Reply<'a> {
    let content_type =
        if settings.names_content_type { content_type::NONE } else { content_type::TEXT };
    Reply { head: &settings.response_head, content_type, ..Reply::ok(output) }
}

/// 500 in nuclio's words.
pub fn failure_text(settings: &Settings, error: &str, output: &[u8]) -> Vec<u8> {
    if !settings.shows_errors {
        return NO_DETAIL.to_vec();
    }
    let mut text = format!("Failed to run shell command.\nError: {error}\nOutput:").into_bytes();
    text.extend_from_slice(output);
    text
}

/// An answer that the program spelled out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: Vec<(String, String)>,
    pub content_type: u8,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn reply<'a>(&'a self, head: &'a HeadBlock) -> Reply<'a> {
        Reply {
            status: self.status,
            outcome: outcome::OK,
            content_type: self.content_type,
            head,
            body: ReplyBody::Bytes(&self.body),
            retry_after_ns: 0,
        }
    }
}

/// How a program ended, as Go says it.
pub fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match signal_name(number) {
            Some(name) => format!("signal: {name}"),
            None => format!("signal: signal {number}"),
        },
        (None, None) => "ended in an unknown way".into(),
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "hangup",
        2 => "interrupt",
        4 => "illegal instruction",
        6 => "aborted",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        _ => return None,
    })
}
