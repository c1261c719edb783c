//! Configuration inside a source file: nuclio's comment block that starts with
//! `@nuclio.configure` and holds a function.yaml, indented under `function.yaml:`.

/// The line that starts the block.
const MARKER: &str = "@nuclio.configure";

/// The key under which the block holds the file.
const FILE_KEY: &str = "function.yaml:";

/// The function.yaml inside the comments of a source file, or `None` where there is no block.
///
/// `comment_prefix` starts a line comment of the language: `#`, `//`, `--`. For languages with
/// `//` a block between `/*` and `*/` is read too. The text starts with empty lines, so that a
/// line number in it is the line number in the source. Where the block has no `function.yaml:`
/// the whole block is given back: the loader then names what stands there instead.
#[must_use]
pub fn inline_config(source_text: &str, comment_prefix: &str) -> Option<String> {
    let lines: Vec<&str> = source_text.lines().collect();
    let marker = lines.iter().position(|line| is_marker(line, comment_prefix))?;
    let block = match comment_text(lines[marker], comment_prefix) {
        Some(_) => line_comments(&lines[marker + 1..], comment_prefix),
        None => block_comment(&lines[marker + 1..]),
    };
    let mut yaml = "\n".repeat(marker + 1);
    let file_key = block.iter().position(|line| line.trim() == FILE_KEY);
    match file_key {
        Some(key) => {
            let key_indent = indent_of(&block[key]);
            yaml.push_str(&"\n".repeat(key + 1));
            let body = &block[key + 1..];
            let end = body
                .iter()
                .position(|line| !line.trim().is_empty() && indent_of(line) <= key_indent)
                .unwrap_or(body.len());
            push_dedented(&body[..end], &mut yaml);
        }
        None => push_dedented(&block, &mut yaml),
    }
    Some(yaml)
}

/// The marker stands alone in a comment; a line of code that mentions it does not count.
fn is_marker(line: &str, comment_prefix: &str) -> bool {
    let inside = comment_text(line, comment_prefix).unwrap_or_else(|| match comment_prefix {
        "//" => line.trim_start().trim_start_matches(['/', '*']),
        _ => "",
    });
    inside.trim() == MARKER
}

/// What follows the prefix, or `None` where the line is not a line comment.
fn comment_text<'a>(line: &'a str, comment_prefix: &str) -> Option<&'a str> {
    line.trim_start().strip_prefix(comment_prefix)
}

fn line_comments(lines: &[&str], comment_prefix: &str) -> Vec<String> {
    lines
        .iter()
        .map_while(|line| comment_text(line, comment_prefix))
        .map(ToString::to_string)
        .collect()
}

fn block_comment(lines: &[&str]) -> Vec<String> {
    let mut block = Vec::new();
    for line in lines {
        let (inside, ends) = match line.split_once("*/") {
            Some((before, _)) => (before, true),
            None => (*line, false),
        };
        // A column of stars in front of the lines is decoration; a star that is YAML has a word
        // behind it.
        let text = inside.trim_start();
        let starred = text == "*" || text.starts_with("* ");
        block.push(if starred { text[1..].to_string() } else { inside.to_string() });
        if ends {
            break;
        }
    }
    block
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn push_dedented(lines: &[String], yaml: &mut String) {
    let full = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = full.map(|line| indent_of(line)).min().unwrap_or(0);
    for line in lines {
        yaml.push_str(line.get(indent..).unwrap_or_default().trim_end());
        yaml.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(source: &str, prefix: &str, expected: &Expect) {
        expected.assert_eq(&inline_config(source, prefix).unwrap_or_else(|| "none".into()));
    }

    #[test]
    fn line_comments_of_a_script() {
        let source = "\
#!/usr/bin/env python3
# @nuclio.configure
#
# function.yaml:
#   spec:
#     handler: app:run
#     env:
#     - name: A
#       value: '# 1'
#
#     triggers: {}

def run(context, event):
    pass
";
        check(
            source,
            "#",
            &expect![[r#"




            spec:
              handler: app:run
              env:
              - name: A
                value: '# 1'

              triggers: {}
        "#]],
        );
    }

    #[test]
    fn slashes_and_windows_lines() {
        let source = "//@nuclio.configure\r\n//\r\n//function.yaml:\r\n//  spec: {}\r\n//other: 1\r\ncode\r\n";
        check(
            source,
            "//",
            &expect![[r#"



            spec: {}
        "#]],
        );
    }

    #[test]
    fn block_comments() {
        let source = "\
'use strict';
/*
@nuclio.configure

function.yaml:
  spec:
    commands: *x
*/
";
        check(
            source,
            "//",
            &expect![[r#"





            spec:
              commands: *x

        "#]],
        );
        let starred =
            "/**\n * @nuclio.configure\n * function.yaml:\n *   spec:\n *     handler: x\n */\n";
        check(
            starred,
            "//",
            &expect![[r#"



            spec:
              handler: x

        "#]],
        );
    }

    #[test]
    fn no_block_and_odd_blocks() {
        check("x = '@nuclio.configure'\n", "#", &expect!["none"]);
        check("", "#", &expect!["none"]);
        assert_eq!(inline_config("# @nuclio.configure", "#").as_deref(), Some("\n"));
        check(
            "# @nuclio.configure\n# function.yml:\n#   spec: {}\n",
            "#",
            &expect![[r#"

            function.yml:
              spec: {}
        "#]],
        );
    }
}
