//! An event: read from shared memory when asked, nothing copied but what must be decoded.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::abi;
use crate::door::Raw;
use crate::text::{decoded, text};

/// What has happened: a request, a record, a tick. Good until the handler returns.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub(crate) raw: Raw<'a>,
}

impl<'a> Event<'a> {
    /// Its id.
    pub fn id(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_ID))
    }

    /// Such as `POST`.
    pub fn method(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_METHOD))
    }

    /// Decoded, without the query.
    pub fn path(&self) -> Cow<'a, str> {
        let path = self.raw.text(abi::NUCLIO_TEXT_PATH);
        match decoded(path, false) {
            Cow::Borrowed(bytes) => text(bytes),
            Cow::Owned(bytes) => Cow::Owned(text(&bytes).into_owned()),
        }
    }

    /// As it came, without the question mark.
    pub fn query(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_QUERY))
    }

    /// The first value of this name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let query = self.raw.text(abi::NUCLIO_TEXT_QUERY);
        let pairs = query.split(|byte| *byte == b'&');
        let mut pairs = pairs.map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        });
        let (_, value) = pairs.find(|(key, _)| *decoded(key, true) == *name.as_bytes())?;
        Some(text(&decoded(value, true)).into_owned())
    }

    /// Of the body; empty if the client did not say.
    pub fn content_type(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_CONTENT_TYPE))
    }

    /// The body, where it lies in shared memory.
    pub fn body(&self) -> &'a [u8] {
        self.raw.body()
    }

    /// The body as text.
    pub fn body_text(&self) -> Cow<'a, str> {
        text(self.body())
    }

    /// The first value of a header, its name in any case.
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw.header_named(name).map(text)
    }

    /// All header lines, in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let raw = self.raw;
        (0..).map_while(move |index| raw.header(index))
    }

    /// When it arrived.
    pub fn timestamp(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.raw.numbers().timestamp_ns)
    }

    /// How long until the answer is due; `None` without a limit.
    pub fn time_left(&self) -> Option<Duration> {
        u64::try_from(self.raw.time_left_ns()).ok().map(Duration::from_nanos)
    }

    /// True once nobody waits for the answer.
    pub fn is_cancelled(&self) -> bool {
        self.raw.is_cancelled()
    }

    /// The first attempt is 1.
    pub fn attempt(&self) -> u32 {
        self.raw.numbers().attempt
    }

    /// Of a stream record.
    pub fn key(&self) -> &'a [u8] {
        self.raw.text(abi::NUCLIO_TEXT_KEY)
    }

    /// Topic, queue or stream.
    pub fn topic(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_TOPIC))
    }

    /// Partition and position of a stream record.
    pub fn position(&self) -> (u32, u64) {
        let numbers = self.raw.numbers();
        (numbers.partition, numbers.offset)
    }

    /// Kind of its trigger, such as `http`.
    pub fn trigger_kind(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_TRIGGER_KIND))
    }

    /// Name of its trigger.
    pub fn trigger_name(&self) -> Cow<'a, str> {
        text(self.raw.text(abi::NUCLIO_TEXT_TRIGGER_NAME))
    }
}
