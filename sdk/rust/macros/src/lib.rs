//! `#[handler]` and `#[init]`: a function and the C door beside it.
//!
//! Reads nothing of a function but its name, so any function that the door can call will do.
#![forbid(unsafe_code)]

use proc_macro::{TokenStream, TokenTree};

/// Makes a function the handler of this library: `fn(&Context, Event) -> impl IntoReply`.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, function: TokenStream) -> TokenStream {
    beside(arguments, function, "handler", |name| {
        format!(
            r#"
            #[doc(hidden)]
            #[unsafe(no_mangle)]
            pub extern "C" fn nuclio_handler_abi() -> u32 {{ ::nuclio_sdk::abi::ABI }}
            #[doc(hidden)]
            #[unsafe(no_mangle)]
            pub extern "C" fn nuclio_handle(
                context: *const ::nuclio_sdk::abi::Context,
                event: *const ::nuclio_sdk::abi::Event,
                response: *mut ::nuclio_sdk::abi::Response,
            ) -> i32 {{
                ::nuclio_sdk::door::handle(context, event, response, {name})
            }}"#
        )
    })
}

/// Makes a function the one that is called before the first event: `fn(&Context) -> Result<()>`.
#[proc_macro_attribute]
pub fn init(arguments: TokenStream, function: TokenStream) -> TokenStream {
    beside(arguments, function, "init", |name| {
        format!(
            r#"
            #[doc(hidden)]
            #[unsafe(no_mangle)]
            pub extern "C" fn nuclio_init(
                context: *const ::nuclio_sdk::abi::Context,
                problem: *mut ::nuclio_sdk::abi::Response,
            ) -> i32 {{
                ::nuclio_sdk::door::init(context, problem, {name})
            }}"#
        )
    })
}

fn beside(
    arguments: TokenStream,
    function: TokenStream,
    what: &str,
    door: impl Fn(&str) -> String,
) -> TokenStream {
    let made = match name_of(function.clone()) {
        Some(_) if !arguments.is_empty() => refusal(&format!("#[{what}] takes no arguments")),
        Some(name) => door(&name),
        None => refusal(&format!("#[{what}] belongs above a function")),
    };
    let mut all = function;
    all.extend(made.parse::<TokenStream>().unwrap_or_default());
    all
}

fn refusal(text: &str) -> String {
    format!("compile_error!({text:?});")
}

/// The word behind `fn`.
fn name_of(function: TokenStream) -> Option<String> {
    let mut words = function.into_iter();
    words.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    match words.next()? {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    }
}
