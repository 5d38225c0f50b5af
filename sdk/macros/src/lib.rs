//! The attributes `#[task]` and `#[trace]`. Import them from `relive`, which exports both.
//!
//! They turn a function inside out: calling it no longer runs it, but describes the call to the engine, which runs the
//! body, or hands back what the log holds. What they write refers to `::relive::__private` and to nothing else, and is
//! what one would write by hand: `cargo expand` shows it.
//!
//! ```text
//! parse    the tokens       → settings and a function
//! check    the function     → arguments to record, or every complaint at once
//! expand   both             → the code that replaces the function
//! place    a type           → calls that the compiler complains about there
//! hash     the tokens       → which code this is: the cache and the replay ask
//! select   a task's body    → the same body, its `tokio::select!` made repeatable
//! ```
//!
//! Deliberately missing in this version: everything but `async fn`. A plain `fn`, a method, an iterator or a stream is a
//! compile error that says so.

mod check;
mod expand;
mod hash;
mod parse;
mod place;
mod select;

use proc_macro::TokenStream;

use crate::check::Checked;
use crate::parse::{Kind, Source};

/// Makes an `async fn` one recorded operation of a task: an API call, a computation worth a checkpoint.
///
/// Inside a task, awaiting a call runs the body and records its result; after a crash the same call returns the recorded
/// result at once. The body may run more than once (at-least-once), the result is recorded once. Outside a task the call
/// returns an error of kind `OutsideTask`.
///
/// ```text
/// #[trace(skip(client))]
/// async fn fetch(client: Client, url: &str) -> relive::Result<String> {
///     Ok(client.get(url).send().await?.text().await?)
/// }
/// ```
///
/// The function returns `Result<T, E>` with `E: From<relive::Error>`. Arguments are `Serialize`, `Send` and `'static`; an
/// argument `&T` is owned for you by `ToOwned`.
///
/// | setting | meaning |
/// |---|---|
/// | `name = "…"` | The name on record, else the function's. Keep it over a rename, and old logs still fit. |
/// | `skip(a, b)` | Arguments that are no data (clients, pools): neither in the key nor in the record. |
/// | `outside = "call"` | Outside a task, just call the function. The default is `"error"`. |
/// | `crate = path` | Where `relive` is found, if not at `::relive`. |
#[proc_macro_attribute]
pub fn trace(settings: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Kind::Trace, settings, item)
}

/// Makes an `async fn` a durable task: an orchestration that survives a crash by being run again against its log.
///
/// The function returns a typed call, inert until it is given to the engine. What it does between traces must be
/// deterministic.
///
/// ```text
/// #[task]
/// async fn digest(urls: Vec<String>) -> relive::Result<Vec<Summary>> {
///     let pages = futures::future::try_join_all(urls.into_iter().map(fetch)).await?;
///     Ok(summarize(pages).await?)
/// }
/// ```
///
/// The function returns `Result<T, E>` with `E: From<relive::Error>`. Arguments are `Serialize + DeserializeOwned`, and
/// there are no type parameters: the engine runs a task from its log alone. A `tokio::select!` in the body, written by
/// that path, is made `biased;`, since a random choice cannot be replayed; a bare `select!` is warned about.
///
/// | setting | meaning |
/// |---|---|
/// | `name = "…"` | The name on record, else the function's. Keep it over a rename, and old logs still fit. |
/// | `cache = "off"` | Run every call, and never join an unfinished one. The default is `"auto"`. |
/// | `crate = path` | Where `relive` is found, if not at `::relive`. |
#[proc_macro_attribute]
pub fn task(settings: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Kind::Task, settings, item)
}

/// The expansion, or the errors followed by the function as it was: so that one mistake is not reported again wherever
/// the function is called.
fn attribute(kind: Kind, settings: TokenStream, item: TokenStream) -> TokenStream {
    let tokens = expanded(kind, settings.into(), item.clone().into());
    tokens.map_or_else(|error| [error.into_compile_error().into(), item].into_iter().collect(), TokenStream::from)
}

fn expanded(
    kind: Kind,
    settings: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    let mut errors = Errors::default();
    let source = Source::parse(kind, settings, item, &mut errors)?;
    let checked = Checked::check(&source, &mut errors);
    errors.finish()?;
    Ok(match kind {
        Kind::Trace => expand::trace(&source, &checked),
        Kind::Task => expand::task(&source, &checked),
    })
}

/// Every complaint about one function, reported at once.
#[derive(Default)]
struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds a complaint at the user's tokens.
    fn push(&mut self, at: impl quote::ToTokens, message: impl std::fmt::Display) {
        self.add(syn::Error::new_spanned(at, message));
    }

    fn add(&mut self, error: syn::Error) {
        self.0 = Some(self.with(error));
    }

    /// Takes all of them, with a last one.
    fn with(&mut self, last: syn::Error) -> syn::Error {
        match self.0.take() {
            Some(mut errors) => {
                errors.combine(last);
                errors
            }
            None => last,
        }
    }

    fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What the unit tests of every file use: from source text, so that they read as a user's.
#[cfg(test)]
mod testing {
    use crate::parse::Kind;

    pub(crate) fn messages(kind: Kind, settings: &str, item: &str) -> Vec<String> {
        match expanded(kind, settings, item) {
            Ok(tokens) => panic!("expanded without a complaint: {tokens}"),
            Err(error) => error.into_iter().map(|error| error.to_string()).collect(),
        }
    }

    pub(crate) fn expansion(kind: Kind, settings: &str, item: &str) -> String {
        expanded(kind, settings, item).expect("the function is in order").to_string()
    }

    /// Without blank space, which a token stream prints where it likes.
    pub(crate) fn dense(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn expanded(kind: Kind, settings: &str, item: &str) -> syn::Result<proc_macro2::TokenStream> {
        crate::expanded(kind, settings.parse()?, item.parse()?)
    }
}
