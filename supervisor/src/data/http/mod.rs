//! HTTP/1.1 in front of the slots: the sources' part that lives on the data thread.

pub mod body;
pub mod chunked;
pub mod compose;
pub mod conn;
pub mod cors;
pub mod listen;
pub mod log_lines;
pub mod method;
pub mod parse;
pub mod ranges;
pub mod receive;
pub mod reply;
pub mod respond;
pub mod send;
pub mod upload;
