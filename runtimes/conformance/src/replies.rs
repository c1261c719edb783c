//! A reply as it is put together from what comes up.

use anyhow::{Context, Result, ensure};
use rings::check::Response;

/// A whole reply.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub outcome: u8,
    pub head: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Its length was not known at its beginning.
    pub is_stream: bool,
    /// It was broken off.
    pub is_broken: bool,
    /// Pieces that came behind the head.
    pub pieces: u32,
}

impl Reply {
    /// All values of a header.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let name = name.as_bytes();
        let lines = self.head.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| &**value).collect()
    }

    /// The body, as a text for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned()
    }
}

/// A reply of which not all is there.
#[derive(Debug)]
pub struct Growing {
    pub reply: Reply,
    /// What its beginning announced.
    length: Option<u64>,
    pub is_whole: bool,
}

impl Growing {
    /// The beginning: the head's bytes and what of the body came with it.
    pub fn begin(response: &Response, head: &[u8], body: Vec<u8>) -> Result<Self> {
        let reply = Reply {
            status: response.status,
            outcome: response.outcome,
            head: lines_of(head)?,
            body,
            is_stream: response.in_pieces == Some(None),
            ..Reply::default()
        };
        let length = response.in_pieces.flatten();
        Ok(Self { reply, length, is_whole: response.in_pieces.is_none() })
    }

    pub fn piece(&mut self, bytes: &[u8]) -> Result<()> {
        ensure!(!self.is_whole, "a piece behind the end of a reply");
        self.reply.body.extend_from_slice(bytes);
        self.reply.pieces += 1;
        let most = self.length.unwrap_or(u64::MAX);
        let have = self.reply.body.len() as u64;
        ensure!(have <= most, "{have} bytes of a reply that announced {most}");
        Ok(())
    }

    pub fn end(&mut self, is_broken: bool) -> Result<()> {
        ensure!(!self.is_whole, "a second end of a reply");
        (self.is_whole, self.reply.is_broken) = (true, is_broken);
        if let Some(length) = self.length.filter(|_| !is_broken) {
            let have = self.reply.body.len();
            ensure!(have as u64 == length, "{have} bytes of a reply that announced {length}");
        }
        Ok(())
    }
}

/// Header lines as they travel, see `docs/abi`.
fn lines_of(mut head: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut lines = Vec::new();
    while !head.is_empty() {
        let line = line_of(head).context("a reply's head is torn")?;
        let (name, value, rest) = line;
        ensure!(!name.is_empty(), "a reply has a header without a name");
        lines.push((name.to_vec(), value.to_vec()));
        head = rest;
    }
    Ok(lines)
}

fn line_of(head: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_bytes, rest) = head.split_first_chunk::<2>()?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_bytes)))?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_bytes) as usize)?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_to_the_end() {
        let head = [1, 0, 2, 0, 0, 0, b'a', b'b', b'c', 1, 0, 0, 0, 0, 0, b'd'];
        let lines = lines_of(&head).unwrap();
        assert_eq!(lines, [(b"a".to_vec(), b"bc".to_vec()), (b"d".to_vec(), vec![])]);
        assert!(lines_of(&head[..8]).is_err());
        assert!(lines_of(&[0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_reply_has_the_announced_length() {
        let growing = || Growing { reply: Reply::default(), length: Some(3), is_whole: false };
        let mut reply = growing();
        reply.piece(b"abc").unwrap();
        assert!(reply.end(false).is_ok() && reply.end(false).is_err());
        assert!(growing().end(false).is_err());
        assert!(growing().end(true).is_ok());
        assert!(growing().piece(b"abcd").is_err());
    }
}
