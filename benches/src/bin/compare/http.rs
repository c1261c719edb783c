//! A client just good enough to check an answer: one connection, Content-Length only.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long one answer may take; a server that needs longer is broken, not slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What any server here may send in one answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const HEADERS_MAX: usize = 64;

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn connect(port: u16) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
        self.read_answer()
    }

    pub fn post(&mut self, body: &[u8]) -> Result<Answer> {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.read_answer()
    }

    fn read_answer(&mut self) -> Result<Answer> {
        let mut bytes = Vec::new();
        let (status, head_bytes, body_bytes) = loop {
            self.read_some(&mut bytes)?;
            if let Some(head) = parse_head(&bytes)? {
                break head;
            }
        };
        ensure!(body_bytes <= ANSWER_BYTES_MAX, "an answer of {body_bytes} bytes");
        while bytes.len() < head_bytes + body_bytes {
            self.read_some(&mut bytes)?;
        }
        ensure!(bytes.len() == head_bytes + body_bytes, "bytes behind the end of the answer");
        let body = bytes.split_off(head_bytes);
        Ok(Answer { status, head: String::from_utf8_lossy(&bytes).into_owned(), body })
    }

    fn read_some(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk).context("no answer")?;
        ensure!(count > 0, "the connection closed before the end of the answer");
        bytes.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

/// Status, length of the head, length of the body; None while the head is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = head.parse(bytes).context("not HTTP")? else {
        return Ok(None);
    };
    let status = head.code.context("an answer without a status")?;
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value)?.trim().parse()?;
            return Ok(Some((status, head_bytes, length)));
        }
    }
    bail!("an answer without Content-Length: {}", String::from_utf8_lossy(&bytes[..head_bytes]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
        assert_eq!(parse_head(bytes).unwrap(), Some((200, 38, 5)));
        assert_eq!(parse_head(&bytes[..30]).unwrap(), None);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
