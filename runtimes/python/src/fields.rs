//! Reads what clients wrote: text of unknown encoding, query strings, header names.
//!
//! Pure: no Python, no event. Whatever the bytes are, there is an answer.

use std::borrow::Cow;

/// Text as handlers see it: UTF-8, and where it is not, each byte as its Latin-1 character, so that
/// nothing a client sends makes a field unreadable.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// A header name as Go writes it, which is what nuclio's handlers see: `content-type` becomes
/// `Content-Type`.
pub fn canonical_name(name: &[u8]) -> Vec<u8> {
    let mut first = true;
    let word_by_word = |byte: &u8| {
        let byte = if first { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        first = byte == b'-';
        byte
    };
    name.iter().map(word_by_word).collect()
}

/// Names and values of a query string, decoded, in their order.
pub fn query_pairs(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        (percent_decoded(name, true).into_owned(), percent_decoded(value, true).into_owned())
    })
}

/// Bytes with each `%XX` replaced, and in a form also `+` by a blank. What is no proper escape
/// stays as it is.
pub fn percent_decoded(bytes: &[u8], form: bool) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|byte| *byte == b'%' || (form && *byte == b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1).and_then(hex), bytes.get(at + 2).and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
                continue;
            }
            (b'+', ..) if form => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

fn hex(byte: &u8) -> Option<u8> {
    char::from(*byte).to_digit(16).map(|digit| digit as u8)
}

/// Year, month, day, hour, minute, second, microsecond of a moment in UTC.
pub fn civil_time(unix_ns: u64) -> (i32, [u8; 5], u32) {
    let seconds = unix_ns / 1_000_000_000;
    let micros = (unix_ns % 1_000_000_000 / 1000) as u32;
    let (days, second_of_day) = ((seconds / 86_400) as i64, (seconds % 86_400) as u32);
    // Days since 0000-03-01, in eras of 400 years: leap days then fall at the end of a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let clock = [second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60];
    let [hour, minute, second] = clock.map(|part| part as u8);
    (year as i32, [month as u8, day as u8, hour, minute, second], micros)
}
