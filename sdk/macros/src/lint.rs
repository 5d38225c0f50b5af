//! What a task's body should leave to traces, as far as the names that are written there tell: the clock, chance, timers,
//! files, the order of a `HashMap`. And a signal in a task that is cached, as its result then is not.
//!
//! A macro cannot warn. But the compiler warns where something deprecated is used; so the expansion uses, at the user's
//! words, a function of `relive::lint` that exists for nothing else. Its note is the warning.
//!
//! `words` reads tokens, `calls` says which calls are meant, `order` which loops and iterators, `walk` goes through the
//! body. On tokens, not on the syntax tree, to see into the arguments of other macros: a `join!`, a `vec!`.
//!
//! Invariant: code that no lint finds expands to what it expanded to before there were lints. The names of the lints stay.

mod calls;
mod order;
mod walk;
mod words;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Error;

use crate::nearest::guess;
use crate::parse::Source;
use crate::settings::Cache;

/// A kind of what should not be in a task's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lint {
    Clock,
    Random,
    MapOrder,
    Timer,
    Spawn,
    Io,
    Env,
    Select,
    Signal,
}

/// As `allow(…)` takes them, and as the functions of `relive::lint` are named.
const NAMES: &[(&str, Lint)] = &[
    ("clock", Lint::Clock),
    ("random", Lint::Random),
    ("map_order", Lint::MapOrder),
    ("timer", Lint::Timer),
    ("spawn", Lint::Spawn),
    ("io", Lint::Io),
    ("env", Lint::Env),
    ("select", Lint::Select),
    ("signal", Lint::Signal),
];

impl Lint {
    /// The lint of this name.
    pub(crate) fn named(name: &Ident) -> syn::Result<Self> {
        let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let text = name.to_string();
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, lint)| *lint).ok_or_else(|| {
            let listed: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            let message =
                format!("no lint is called `{text}`: `allow` takes {}{}", listed.join(", "), guess(&text, &known));
            Error::new_spanned(name, message)
        })
    }

    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, lint)| *lint == self).map_or("", |(name, _)| name)
    }
}

/// Where a lint found something.
#[derive(Clone, Copy)]
pub(crate) struct Finding {
    lint: Lint,
    /// The word that the compiler marks: of a path the last.
    at: Span,
}

/// Everything found in a task's body that its attribute does not allow. `unbiased` is what `select` found.
pub(crate) fn find(source: &Source, unbiased: Vec<Span>) -> Vec<Finding> {
    let maps = source.function.sig.inputs.iter().filter_map(order::argument).collect();
    let mut found = walk::walk(source.function.block.to_token_stream(), maps);
    found.extend(unbiased.into_iter().map(|at| Finding { lint: Lint::Select, at }));
    let (allowed, is_off) = (&source.settings.task.allow, source.settings.task.cache == Some(Cache::Off));
    found.retain(|finding| !(allowed.contains(&finding.lint) || (is_off && finding.lint == Lint::Signal)));
    found
}

/// The warnings: a use of what is deprecated for each.
pub(crate) fn warnings(found: &[Finding], private: &TokenStream) -> Option<TokenStream> {
    let uses = found.iter().map(|finding| {
        let name = Ident::new(finding.lint.name(), finding.at);
        quote_spanned!(finding.at=> lint::#name();)
    });
    // The module is found where the attribute was written (`$crate`); the uses stand at the user's words.
    (!found.is_empty()).then(|| quote!(const _: () = { use #private::lint; #(#uses)* };))
}

/// What the unit tests below read: each finding as its lint and what it marks.
#[cfg(test)]
mod testing {
    use proc_macro2::TokenStream;

    use super::{order, walk};

    /// The names of the lints that find something in a function, in order, without those about `select!`.
    pub(super) fn found(function: &str) -> Vec<&'static str> {
        let function: syn::ItemFn = syn::parse_str(function).expect("a function");
        let maps = function.sig.inputs.iter().filter_map(order::argument).collect();
        let body: TokenStream = quote::ToTokens::to_token_stream(&function.block);
        walk::walk(body, maps).into_iter().map(|finding| finding.lint.name()).collect()
    }

    /// The same in a body.
    pub(super) fn found_in(body: &str) -> Vec<&'static str> {
        found(&format!("async fn f() {{ {body} }}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::Kind::{Task, Trace};
    use crate::testing::{dense, expansion, messages};

    const TASK: &str = "async fn f() -> Result<(), E> { let at = SystemTime::now(); tokio::spawn(g()); select! {} }";

    #[test]
    fn each_finding_uses_the_function_that_warns() {
        let task = dense(&expansion(Task, "", TASK));
        assert!(task.contains("const_:()={use::relive::__private::lint;"), "{task}");
        for name in ["clock", "spawn", "select"] {
            assert_eq!(task.matches(&format!("lint::{name}();")).count(), 1, "{task}");
        }
        let elsewhere = dense(&expansion(Task, "crate = my::relive", TASK));
        assert!(elsewhere.contains("usemy::relive::__private::lint;"), "{elsewhere}");
    }

    #[test]
    fn what_is_allowed_is_not_warned_about() {
        let task = dense(&expansion(Task, "allow(clock, select)", TASK));
        assert!(task.contains("lint::spawn();") && !task.contains("lint::clock") && !task.contains("lint::select"));
        assert!(!expansion(Task, "allow(clock, spawn, select)", TASK).contains("lint"));
    }

    #[test]
    fn a_signal_is_told_of_where_calls_could_be_thought_to_share_a_result() {
        let body = "async fn f() -> Result<bool, E> { relive::signal::<bool>(\"answer\").await }";
        for settings in ["", "cache = \"auto\"", "version = \"2\"", "ttl = \"1h\""] {
            let task = dense(&expansion(Task, settings, body));
            assert_eq!(task.matches("lint::signal();").count(), 1, "{settings}: {task}");
        }
        for settings in ["cache = \"off\"", "allow(signal)"] {
            assert!(!expansion(Task, settings, body).contains("lint"), "{settings}");
        }
    }

    #[test]
    fn an_effect_may_do_what_it_likes() {
        assert!(!expansion(Trace, "", TASK).contains("lint"));
    }

    #[test]
    fn to_allow_a_lint_is_no_change_of_code() {
        let code = |settings: &str| {
            let source = crate::parse::Source::parse(
                Task,
                settings.parse().expect("tokens"),
                TASK.parse().expect("tokens"),
                &mut crate::errors::Errors::default(),
            );
            source.expect("a function").code
        };
        assert_eq!(code("allow(clock)"), code(""));
        assert_ne!(code("retries = 1"), code(""));
    }

    #[test]
    fn an_unknown_lint_is_refused() {
        let said = messages(Task, "allow(clocks, speed)", TASK);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("no lint is called `clocks`") && said[0].ends_with("Did you mean `clock`?"));
        assert!(said[1].ends_with("`select`, `signal`"), "{said:?}");
        assert!(messages(Task, "allow = clock", TASK)[0].starts_with("`allow` takes names of lints"));
        assert!(messages(Trace, "allow(clock)", TASK)[0].starts_with("unknown setting `allow`"));
    }
}
