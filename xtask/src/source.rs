//! Reads Rust source just well enough for the text gates: code without comments, strings, tests.
//!
//! Keeps every line where it was, so that a finding can name its line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every file below `folder` with this extension, sorted. A folder that is not there has none.
pub fn files_below(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name == "target" || name.starts_with('.') || name == "__pycache__" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The same text with comments and the insides of literals replaced by spaces.
pub fn code_only(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = end_of_blank(&characters, at);
        if end == at {
            code.push(characters[at]);
            at += 1;
        } else {
            code.extend(characters[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn end_of_blank(text: &[char], at: usize) -> usize {
    let rest = &text[at..];
    let follows_word = at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_');
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => at + block_comment_length(rest),
        ['r', '"' | '#', ..] if !follows_word => at + raw_string_length(rest).unwrap_or(0),
        ['"', ..] => at + string_length(rest),
        ['\'', '\\', ..] => {
            let close = rest.iter().skip(3).position(|&c| c == '\'');
            at + close.map_or(rest.len(), |close| close + 4)
        }
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// `None` for a raw identifier such as `r#type`.
fn raw_string_length(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut at = hashes + 2;
    while at < rest.len() {
        let closes = rest[at] == '"'
            && rest[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

fn string_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The code before the tests at the bottom of a file. Expects the output of [`code_only`].
pub fn without_tests(code: &str) -> &str {
    let mut start = 0;
    let mut lines = code.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let gate = line.trim();
        let is_test_gate = gate.starts_with("#[cfg(") && has_word(gate, "test");
        let next = lines.peek().map_or("", |next| next.trim());
        if is_test_gate && next.starts_with("mod ") && next.ends_with('{') {
            return &code[..start];
        }
        start += line.len();
    }
    code
}

/// Whether `word` stands in `line` on its own, not inside a longer name.
pub fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(|c| part_of_name(c) && word.starts_with(part_of_name))
            && !after.is_some_and(|c| part_of_name(c) && word.ends_with(part_of_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blank_and_lines_stay() {
        let text =
            "let a = \"unsafe // no\"; // unsafe\n/* x /* y */\nunsafe */ call('\\'', 'u');\n";
        let code = code_only(text);
        assert_eq!(code.lines().count(), 3);
        assert!(!code.contains("unsafe"));
        assert!(code.contains("call("));
    }

    #[test]
    fn raw_strings_lifetimes_and_raw_names() {
        let code =
            code_only("fn f<'a>(r#type: &'a str) { r#\"unsafe \"quoted\" \"#; b\"x\"; g() }");
        assert!(!code.contains("unsafe") && !code.contains("quoted"));
        assert!(code.contains("fn f<'a>(r#type: &'a str)") && code.contains("g() }"));
    }

    #[test]
    fn tests_at_the_bottom_are_cut_off() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n";
        assert_eq!(without_tests(code), "fn a() {}\n");
        let code = "#[cfg(all(test, not(loom)))]\nmod tests {\n}\n";
        assert_eq!(without_tests(code), "");
        let code = "#[cfg(test)]\nmod tests;\nfn a() {}\n";
        assert_eq!(without_tests(code), code);
    }

    #[test]
    fn words_end_at_their_borders() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("deny(unsafe_code)", "unsafe"));
        assert!(has_word("x().await;", ".await"));
        assert!(has_word("format!(", "format!"));
        assert!(!has_word("my_format!(", "format!"));
    }
}
