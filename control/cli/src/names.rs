//! Names of functions and namespaces, as they come from people and from files.

use std::path::Path;

use spec::ConfigError;

/// Where a function lives when nobody says otherwise.
pub const NAMESPACE_DEFAULT: &str = "default";

/// The name of a file that has no letter or digit to make one of.
const NAME_OF_THE_NAMELESS: &str = "function";

/// Says what is wrong with a name given by `from` (a flag or an argument), and what would do.
pub fn check(from: &str, name: &str) -> Result<(), String> {
    spec::check_function_name(name)
        .map_err(|(problem, hint)| ConfigError::new(from, problem, hint).to_string())
}

/// The function's name where nobody gave one: the file's, or the folder's, in the form that
/// names have: `My_Handler.py` gives `my-handler`.
pub fn of_path(path: &Path) -> String {
    // Without links and `..`, whose last part is no name.
    let path = if path.is_dir() { path.canonicalize().unwrap_or_default() } else { path.into() };
    let named = if path.is_dir() { path.file_name() } else { path.file_stem() };
    named
        .and_then(|name| spec::function_name_from(&name.to_string_lossy()))
        .unwrap_or_else(|| NAME_OF_THE_NAMELESS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn every_path_gets_a_valid_name() {
        for (path, name) in [
            ("/x/hello.py", "hello"),
            ("My_Handler.v2.py", "my-handler-v2"),
            ("日本.py", "function"),
        ] {
            assert_eq!(of_path(Path::new(path)), name);
            assert_eq!(check("NAME", name), Ok(()));
        }
        assert_eq!(of_path(Path::new("/")), "function");
    }

    #[test]
    fn a_wrong_name_is_told_with_a_right_one() {
        let told = ["", "Hello World", "-"].map(|name| check("NAME", name).unwrap_err());
        expect![[r#"
            NAME: is empty
            NAME: "Hello World" has 'H'; lower-case letters, digits and - are possible; write hello-world
            NAME: "-" starts or ends with -"#]].assert_eq(&told.join("\n"));
    }
}
