//! The committed `nuclio_handler.h` is what the code makes; `UPDATE=1` writes it.

use std::path::Path;

#[test]
fn committed_header_is_what_the_code_makes() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let mut made = Vec::new();
    let builder = builder.with_src(here.join("../../sdk/rust/src/abi.rs"));
    builder.generate().unwrap().write(&mut made);
    let (made, file) = (String::from_utf8(made).unwrap(), here.join("nuclio_handler.h"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == made, "nuclio_handler.h is not what abi.rs makes: `cargo xtask codegen`");
}
