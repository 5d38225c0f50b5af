//! The attributes `#[task]` and `#[trace]`, and the derive `TypedError`. Import them from `relive`, which exports all.
//!
//! The attributes turn a function inside out: calling it no longer runs it, but describes the call to the engine, which runs the
//! body, or hands back what the log holds. What they write refers to `::relive::__private` and to nothing else, and is
//! what one would write by hand: `cargo expand` shows it.
//!
//! ```text
//! parse          the tokens       → settings and a function
//! settings       the settings     → what each says; `setting`, `duration`: how one is written
//! form           the signature    → which kind of function it is
//! check          the function     → arguments to record, or every complaint at once
//! expand         all of it        → the code that replaces the function
//! place          a type           → calls that the compiler complains about there
//! hash           the tokens       → which code this is: the cache and the replay ask
//! typed_error    an error type    → its variants, or every complaint at once
//! cfg            the tokens       → what a build decides in that code
//! select         a task's body    → the same body, its `tokio::select!` made repeatable
//! lint           a task's body    → what it should leave to traces: warnings
//! nearest        a misspelt word  → the one that was meant
//! test           a test           → the same test on a runtime whose time is virtual
//! ```

mod cfg;
mod check;
mod duration;
mod errors;
mod expand;
mod form;
mod hash;
mod lint;
mod nearest;
mod parse;
mod place;
mod select;
mod setting;
mod settings;
mod test;
mod typed_error;

use proc_macro::TokenStream;

use crate::check::Checked;
use crate::errors::Errors;
use crate::parse::{Kind, Source};

/// Makes a function one recorded operation of a task: an API call, a computation worth a checkpoint.
///
/// Inside a task the call runs the body and records its result; after a crash the same call returns the recorded result at
/// once. The body may run more than once (at-least-once), the result is recorded once. Outside a task the call returns an
/// error of kind `OutsideTask`.
///
/// ```text
/// #[trace(skip(client), retries = 3, timeout = "30s")]
/// async fn fetch(client: &Client, url: &str) -> relive::Result<String> {
///     Ok(client.get(url).send().await?.text().await?)
/// }
/// ```
///
/// # Functions
///
/// | function | its call returns | its effect |
/// |---|---|---|
/// | `async fn -> Result<T, E>` | `Trace<T, E>` | A future. `spawn` makes it a task of the runtime's own. |
/// | `fn -> Result<T, E>` | `Result<T, E>` | Runs where it is called, and is recorded before the call returns. |
/// | `fn -> Result<T, E>` with `blocking` | `Trace<T, E>` | Runs on a thread where it may take its time. |
/// | `fn -> impl Stream<Item = Result<T, E>>` | `TraceStream<T, E>` | Each item is recorded. |
/// | `fn -> impl Iterator<Item = Result<T, E>>` | `TraceIterator<T, E>` | Each item is recorded. |
///
/// `T` is `Serialize + DeserializeOwned + 'static`, `E: From<relive::Error>`. Streams and iterators are told by the name
/// `Stream` or `Iterator`, by any path; further bounds, as `+ Send`, may follow. A source is polled inside an effect that
/// is `Send`, so it is, too.
///
/// # Arguments
///
/// Arguments are `Serialize`, which generic ones say by a bound. An effect is `Send + 'static`: it owns its arguments and
/// lends them to the body, so an argument `&T` is cloned by `ToOwned`. A plain `fn` without `blocking` runs in place: it
/// clones nothing, and may borrow as it likes. With `retries`, an argument that the body takes by value is `Clone`.
///
/// A method is traced like a function. `&self` is cloned (`Clone`), or lent to what runs in place; `self` and
/// `self: Arc<Self>` are moved; `&mut self` is an error. `self` is neither in the key nor in the record, as if it were
/// skipped: what a result depends on is an argument. The body becomes a hidden method beside the new one, named
/// `__relive_` and the method's name; so a method of a trait cannot be traced. A function without `self` in an `impl` block
/// is traced if it does not name `Self`. Names on record are the methods' own: where two types have methods of one name,
/// give one of them another by `name`.
///
/// # Settings
///
/// | setting | meaning |
/// |---|---|
/// | `name = "…"` | The name on record, else the function's. Keep it over a rename, and old logs still fit. |
/// | `skip(a, b)` | Arguments that are no data (clients, pools): neither in the key nor in the record. |
/// | `redact(a, user.password)` | Arguments, or fields of them, that count in the key and are masked in the record. |
/// | `key = expression` | What tells this call from others in place of its arguments, over which it is an expression: `order.id`, or `(&a, b)`. It only borrows them. |
/// | `outside = "call"` | Outside a task, just call the function. The default is `"error"`. |
/// | `codec = "json"` | How arguments and results are written: `"messagepack"`, `"json"` or `"bincode"`. Else as the engine says. |
/// | `retries = 3` | How many tries may follow a failed one. |
/// | `backoff = "1s"` | The wait before the second try, else 100 ms; each next wait is twice as long, up to 5 min (a longer first wait stays), and partly random. |
/// | `backoff(first = "1s", factor = 1.5, max = "1m", jitter = false)` | The same in full. Each part may be left out. |
/// | `timeout = "30s"` | Longest that one try may take. |
/// | `deadline = "5m"` | Longest that all tries and the waits between them may take. |
/// | `pure` | It has no effect outside, so it need not wait until what came before it is on disk. |
/// | `at_most_once` | Its effect never begins twice: if it is not known how it ended, the call returns an error of kind `Interrupted`. |
/// | `spawn` | An `async fn` may run on another core. |
/// | `blocking` | A plain `fn` runs on another thread. |
/// | `resume = "from"` | A stream or an iterator goes on after a crash: its integer argument `from` is then greater by the number of items that were handed on. Without it, a source starts over and its first items are passed over. |
/// | `crate = path` | Where `relive` is found, if not at `::relive`. |
///
/// A duration is whole numbers with units: `"150ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"2d"`.
///
/// What runs in place can neither be left nor waited for: a plain `fn` takes `timeout`, `deadline` and `backoff` only with
/// `blocking`, and is tried again at once. Streams and iterators take neither those nor `retries`, `pure`, `at_most_once`,
/// `spawn` or `blocking`. `at_most_once` excludes `retries` and `pure`.
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
/// that path, is made `biased;`, since a random choice cannot be replayed.
///
/// # Settings
///
/// | setting | meaning |
/// |---|---|
/// | `name = "…"` | The name on record, else the function's. Keep it over a rename, and old logs still fit. |
/// | `cache = "off"` | Run every call, and never join an unfinished one. The default is `"auto"`: a result holds as long as the code is what it was. |
/// | `version = "2"` | A result holds as long as this version is what it was, whatever the code. |
/// | `ttl = "1h"` | How long a cached result holds. |
/// | `ignore(a, b)` | Arguments that calls may differ in and still be equal. |
/// | `salt = "…"` | Another salt makes other calls of the same. |
/// | `codec = "json"` | How arguments and results are written: `"messagepack"`, `"json"` or `"bincode"`. Else as the engine says. |
/// | `retries = 3` | How many attempts may follow a failed one. |
/// | `backoff = "1s"`, `backoff(…)` | The waits between them, as for `#[trace]`. |
/// | `timeout = "5m"` | Longest that one attempt may take. |
/// | `deadline = "1h"` | Longest that all attempts and the waits between them may take. |
/// | `on_divergence = "new_attempt"` | A run that no longer fits its log goes on as a new attempt. The default is `"wait"`. |
/// | `keep = "30d"`, `keep(age = "30d", count = 100)` | How long a run is kept when it has ended: so long, or while it is among so many of the newest, if either holds. `"forever"` where the engine's `Builder::keep` says less. |
/// | `allow(clock, map_order)` | Lints that are switched off: see below. |
/// | `crate = path` | Where `relive` is found, if not at `::relive`. |
///
/// A duration is written as for `#[trace]`. With `cache = "off"` there is nothing for `version`, `ttl`, `ignore` and `salt`
/// to say.
///
/// # Lints
///
/// What the body does that belongs in a trace is warned about, as far as names tell: what is written by another name is not
/// seen. The warning is that of a deprecated function, `relive::lint::…`, as macros have no other; `allow(…)` switches off
/// one, `#[allow(deprecated)]` on the function all. Functions written inside the body are no part of it, closures are.
///
/// | lint | warns about | instead |
/// |---|---|---|
/// | `clock` | `SystemTime::now`, `Instant::now`, `Utc::now`, `Local::now`, `Zoned::now`, `OffsetDateTime::now_utc` | `relive::now()` |
/// | `random` | `rand::random`, `rand::rng`, `thread_rng`, `fastrand::…`, `Uuid::new_v4`, `Uuid::now_v7` | `relive::random()`, `relive::uuid()` |
/// | `map_order` | Going through a `HashMap` or `HashSet`, unless the order cannot show: it is counted, summed, sorted. | A `BTreeMap`, or sort first. |
/// | `timer` | `tokio::time::sleep`, `timeout`, `interval`; `thread::sleep` | `relive::sleep`, `relive::timeout` |
/// | `spawn` | `tokio::spawn`, `spawn_blocking`, `JoinSet::new`, `thread::spawn` | Traces that are joined; `#[trace(spawn)]`, `#[trace(blocking)]`. |
/// | `io` | `fs::read` and its kin, `File::open`, `TcpStream::connect`, `reqwest::get`, `process::Command::new` | A `#[trace]`. |
/// | `env` | `env::var`, `env::args`, `process::id` | An argument, or a `#[trace]`. |
/// | `select` | A bare `select!`, and that of `futures`. | `relive::select!`, or `tokio::select!` by that path. |
/// | `signal` | `relive::signal` in a task whose cache is not off: its result is not cached, unless there is a `version`. | `cache = "off"` |
#[proc_macro_attribute]
pub fn task(settings: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Kind::Task, settings, item)
}

/// Lets an error come out of the log as the type and the value that went in, live and replayed alike.
///
/// For an enum or a struct that is a `std::error::Error` and derives `Serialize` and `Deserialize`. Functions that are
/// `#[trace]` or `#[task]` may return it: the derive writes `From<relive::Error>`. The engine reports its own errors (a
/// cancelled run, a payload over the limit) as the type that a function says it returns, so an enum has one variant that
/// holds a `relive::Error`, marked `engine`; a struct names a function that makes one of it.
///
/// ```text
/// #[derive(Debug, Serialize, Deserialize, relive::TypedError)]
/// enum FetchError {
///     Status(u16),
///     #[relive(terminal)]
///     NotFound { url: String },
///     #[relive(engine)]
///     Engine(relive::Error),
/// }
/// ```
///
/// | setting | on | meaning |
/// |---|---|---|
/// | `engine` | a variant | Holds the engine's own errors. There is one, with one field. |
/// | `terminal` | a variant or the type | Another try is of no use: no retry follows, and a resumed run meets it again. |
/// | `name = "…"` | the type | The name on record, else the type's. Keep it over a rename, and old logs still fit. |
/// | `from = path` | the type | A `fn(relive::Error) -> Self` in place of the variant marked `engine`. |
/// | `crate = path` | the type | Where `relive` is found, if not at `::relive`. |
#[proc_macro_derive(TypedError, attributes(relive))]
pub fn typed_error(item: TokenStream) -> TokenStream {
    let read = syn::parse(item).and_then(|input| typed_error::TypedError::read(&input));
    read.map_or_else(syn::Error::into_compile_error, |error| expand::typed_error(&error)).into()
}

/// Makes an `async fn` a test: on a runtime of one thread whose time is virtual, so that no sleep keeps it waiting. If it
/// takes an argument, that is a [`TestEngine`](https://docs.rs/relive). Needs the feature `testing` of `relive`.
///
/// ```text
/// #[relive::test]
/// async fn a_digest_has_a_summary_per_page(engine: TestEngine) -> relive::Result<()> {
///     assert_eq!(engine.run(digest(urls())).await?.len(), 2);
///     Ok(())
/// }
/// ```
///
/// `#[relive::test(crate = my::relive)]` names where `relive` is found, if not at `::relive`. Other attributes
/// (`#[ignore]`, `#[should_panic]`) are kept.
#[proc_macro_attribute]
pub fn test(settings: TokenStream, item: TokenStream) -> TokenStream {
    let tokens = test::expanded(settings.into(), item.clone().into());
    tokens.map_or_else(|error| [error.into_compile_error().into(), item].into_iter().collect(), TokenStream::from)
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
