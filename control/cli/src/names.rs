//! Names of functions and namespaces: what they may look like, and how a file gets one.

/// Where a function lives when nobody says otherwise.
pub const NAMESPACE_DEFAULT: &str = "default";

/// Longest name; Kubernetes takes no longer label.
const NAME_BYTES_MAX: usize = 63;

/// The name of a file that has no letter or digit to make one of.
const NAME_OF_THE_NAMELESS: &str = "function";

/// Says what is wrong with a name, if anything, and what `from` (a flag or key) could say instead.
pub fn check(from: &str, name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "{from}: {name:?} is no name: use lower-case letters, digits and -, at most \
         {NAME_BYTES_MAX}, with a letter or digit at both ends; {} would do",
        from_file_stem(name)
    ))
}

/// The name of `My_Handler.v2` is `my-handler-v2`: lower case, one `-` for any run of characters
/// that a name cannot have, none at the ends.
pub fn from_file_stem(stem: &str) -> String {
    let mut name = String::new();
    for character in stem.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(NAME_BYTES_MAX);
    match name.trim_end_matches('-') {
        "" => NAME_OF_THE_NAMELESS.to_owned(),
        name => name.to_owned(),
    }
}

fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_gets_a_valid_name() {
        for (stem, name) in [
            ("hello", "hello"),
            ("My_Handler.v2", "my-handler-v2"),
            ("__init__", "init"),
            ("Żółw", "w"),
            ("日本", "function"),
            ("a--b", "a-b"),
            (&"x".repeat(70), &"x".repeat(63)),
        ] {
            assert_eq!(from_file_stem(stem), name);
            assert_eq!(check("NAME", name), Ok(()));
        }
    }

    #[test]
    fn a_wrong_name_is_refused_with_a_right_one() {
        for wrong in ["", "A", "-a", "a-", "a.b", "a/b", &"x".repeat(64)] {
            assert!(check("NAME", wrong).unwrap_err().contains("would do"), "{wrong}");
        }
    }
}
