//! The last error of each thread, as a C string that stays until the next one.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Keeps a text; a zero byte inside it would end it early and is left out.
pub fn set(text: &str) {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    LAST.set(CString::new(bytes).unwrap_or_default());
}

/// The text; empty if there has been no error.
pub fn pointer() -> *const c_char {
    LAST.with_borrow(|text| text.as_ptr())
}
