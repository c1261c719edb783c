//! Code that a function.yaml carries inside itself (`spec.build.functionSourceCode`): written to
//! a file in the local registry's folder, since workers load files.
//!
//! The file's folder is named by what it holds, so the same code is the same file, and a function
//! that runs never sees another's.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use spec::Function;

use crate::function::Said;
use crate::registry;
use crate::source::Source;

/// The module that a handler without one is in; nuclio's own default.
const MODULE_DEFAULT: &str = "handler";

/// Writes the code down; the path of its file.
pub fn saved(said: &Said<'_>, source: &Source, function: &Function) -> Result<PathBuf, String> {
    let runtime = said.args.runtime.as_deref().unwrap_or(&function.spec.runtime);
    if runtime.is_empty() {
        return Err("is in an unknown language; write spec.runtime, such as python".into());
    }
    let runtime = said.catalog.by_name(runtime)?;
    let code = decoded(&function.spec.build.function_source_code)
        .ok_or("is not base64; write what base64 makes of the code")?;

    let handler = said.args.handler.as_deref().unwrap_or(&function.spec.handler);
    let module = handler.split_once(':').map_or("", |(module, _)| module);
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let ending = runtime.extensions.first().map_or("", String::as_str);
    let module = module.strip_suffix(ending).filter(|_| !ending.is_empty()).unwrap_or(module);
    let module = if module.is_empty() { MODULE_DEFAULT } else { module };
    if !module.chars().all(is_plain) {
        return Err(format!(
            "is one file, but the handler {handler:?} names a package; write MODULE:FUNCTION"
        ));
    }

    let mut hasher = DefaultHasher::new();
    code.hash(&mut hasher);
    let name = source.name.as_deref().unwrap_or(&function.metadata.name);
    let folder = format!("{name}-{:016x}", hasher.finish());
    let folder = registry::folder(said.around)?.join("code").join(folder);
    let file = folder.join(format!("{module}{ending}"));
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, code)).map_err(|e| {
        format!("cannot be written to {}: {e}; set NUCLIO_STATE_DIR", file.display())
    })?;
    Ok(file)
}

/// Base64 of RFC 4648 section 4; line breaks are allowed, padding may be missing.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut bit_count) = (0_u32, 0);
    for byte in text.trim_end().trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'\n' | b'\r' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
            bits &= (1 << bit_count) - 1;
        }
    }
    // Six bits alone are no byte, and bits left over must be zero.
    (bit_count < 6 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let read = |text: &str| decoded(text).map(|bytes| String::from_utf8(bytes).unwrap());
        for (text, wanted) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v\nYmFy\n", "foobar"), ("Zm8", "fo")]
        {
            assert_eq!(read(text).as_deref(), Some(wanted));
        }
        for wrong in ["Z", "Zm9v!", "Zh==", "Z=m8", "def handler"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
