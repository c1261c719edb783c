//! Text of clients: unknown encodings, percent escapes, JSON strings.

use std::borrow::Cow;

/// UTF-8, and where it is not, each byte as its Latin-1 character.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Each `%XX` replaced, and in a form also `+` by a blank; what is no proper escape stays.
pub fn decoded(bytes: &[u8], is_form: bool) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|byte| *byte == b'%' || (is_form && *byte == b'+')) {
        return Cow::Borrowed(bytes);
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, hex(bytes.get(at)), hex(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if is_form => out.push(b' '),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// Adds a JSON string, with its quotes.
pub fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_replaced_and_halves_stay() {
        assert_eq!(decoded(b"a%20b+c%4", true), &b"a b c%4"[..]);
        assert_eq!(decoded(b"a+b%zz%41", false), &b"a+b%zzA"[..]);
        assert_eq!(decoded(b"%", false), &b"%"[..]);
    }

    #[test]
    fn any_bytes_are_text() {
        assert_eq!(text(b"caf\xe9"), "caf\u{e9}");
        assert_eq!(text("café".as_bytes()), "café");
    }

    #[test]
    fn json_strings_are_escaped() {
        let mut out = String::new();
        push_json(&mut out, "a\"b\\\n\u{1}é");
        assert_eq!(out, r#""a\"b\\\n\u0001é""#);
    }
}
