//! Parses what the user wrote: the attribute's settings, and the function below the attribute.
//!
//! Settings are cut at the commas first and read one by one, so that each has its own complaint. What a function may
//! look like is for `check` to say.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{AttrStyle, Attribute, Error, ItemFn, LitStr, Path, Token, Visibility, parse_quote};

use crate::{Errors, hash};

/// Which attribute was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Trace,
}

impl Kind {
    fn known(self) -> &'static [&'static str] {
        match self {
            Kind::Task => &["name", "cache", "crate"],
            Kind::Trace => &["name", "skip", "outside", "crate"],
        }
    }
}

/// Settings of later versions. Named, so that who reads about one learns that it is early, not that it is misspelt.
#[rustfmt::skip]
const PLANNED: [&str; 13] = [
    "retries", "timeout", "backoff", "spawn", "blocking", "pure", "at_most_once", "key", "resume", "redact",
    "on_divergence", "ttl", "version",
];

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Task => "#[task]",
            Kind::Trace => "#[trace]",
        })
    }
}

/// An attribute and its function.
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) settings: Settings,
    pub(crate) function: ItemFn,
    /// Which code this is, whatever its name and formatting.
    pub(crate) code: [u8; hash::BYTES],
}

/// What the attribute says.
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    /// Arguments that are neither in a trace's key nor in its record.
    pub(crate) skip: Vec<Ident>,
    /// Outside a task a trace is a plain call, instead of an error.
    pub(crate) outside_call: bool,
    pub(crate) cache_off: bool,
    /// Where the `relive` crate is found.
    pub(crate) root: Path,
}

impl Source {
    /// Reads both. A complaint about a setting is added to `errors`; what is no function at all is an error at once.
    pub(crate) fn parse(
        kind: Kind,
        settings: TokenStream,
        item: TokenStream,
        errors: &mut Errors,
    ) -> syn::Result<Self> {
        let written = Setting::split(settings, errors);
        let settings = Settings::read(kind, &written, errors);
        let function = syn::parse2(item).map_err(|error| errors.with(error))?;
        let Function { item: function, tokens } = function;
        let hashed = written.iter().filter(|setting| setting.key != "name").map(ToTokens::to_token_stream);
        let code = hash::code(hashed.collect(), tokens);
        Ok(Source { kind, settings, function, code })
    }
}

/// One setting as written: `key`, `key = value` or `key(list)`.
struct Setting {
    key: Ident,
    /// What follows the key.
    value: TokenStream,
}

impl ToTokens for Setting {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.key.to_tokens(tokens);
        self.value.to_tokens(tokens);
    }
}

impl Setting {
    fn split(settings: TokenStream, errors: &mut Errors) -> Vec<Setting> {
        let mut parts = vec![];
        let mut settings = settings.into_iter().peekable();
        let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
        while let Some(first) = settings.next() {
            let value = std::iter::from_fn(|| settings.next_if(|token| !comma(token))).collect();
            settings.next_if(comma);
            match first {
                TokenTree::Ident(key) => parts.push(Setting { key, value }),
                other => errors.push(other, "expected a setting, as in `name = \"…\"`"),
            }
        }
        parts
    }

    /// The value of `key = value`, or an error that says what was `expected`.
    fn assigned<T: Parse>(&self, expected: &str) -> syn::Result<T> {
        let value = |input: ParseStream<'_>| {
            input.parse::<Token![=]>()?;
            input.parse()
        };
        value.parse2(self.value.clone()).map_err(|_| Error::new_spanned(self, expected))
    }

    /// Whether the value of `key = "value"` is the second of two choices, the first being the default.
    fn chosen(&self, [default, other]: [&str; 2]) -> syn::Result<bool> {
        let expected = format!("`{}` is \"{default}\" (the default) or \"{other}\"", self.key);
        let choice: LitStr = self.assigned(&expected)?;
        match choice.value() {
            value if value == default => Ok(false),
            value if value == other => Ok(true),
            _ => Err(Error::new_spanned(choice, expected)),
        }
    }

    /// The list of `key(a, b)`.
    fn listed(&self) -> syn::Result<Vec<Ident>> {
        let list = |input: ParseStream<'_>| {
            let content;
            syn::parenthesized!(content in input);
            Punctuated::<Ident, Token![,]>::parse_terminated(&content)
        };
        let list = list.parse2(self.value.clone());
        let expected = format!("`{}` takes names of arguments, as in `{}(client)`", self.key, self.key);
        list.map(|names| names.into_iter().collect()).map_err(|_| Error::new_spanned(self, expected))
    }
}

impl Settings {
    fn read(kind: Kind, written: &[Setting], errors: &mut Errors) -> Self {
        let mut settings =
            Settings { name: None, skip: vec![], outside_call: false, cache_off: false, root: parse_quote!(::relive) };
        let mut seen = BTreeSet::new();
        for setting in written {
            let outcome = if seen.insert(setting.key.to_string()) {
                settings.set(kind, setting)
            } else {
                Err(Error::new_spanned(&setting.key, format!("`{}` is given twice", setting.key)))
            };
            if let Err(error) = outcome {
                errors.add(error);
            }
        }
        settings
    }

    fn set(&mut self, kind: Kind, setting: &Setting) -> syn::Result<()> {
        match (setting.key.to_string().as_str(), kind) {
            ("name", _) => {
                let expected = "`name` takes a string that is not empty, as in `name = \"fetch\"`";
                let name: LitStr = setting.assigned(expected)?;
                if name.value().is_empty() {
                    return Err(Error::new_spanned(name, expected));
                }
                self.name = Some(name.value());
            }
            ("crate", _) => self.root = setting.assigned("`crate` takes a path, as in `crate = my::relive`")?,
            ("skip", Kind::Trace) => self.skip = setting.listed()?,
            ("outside", Kind::Trace) => self.outside_call = setting.chosen(["error", "call"])?,
            ("cache", Kind::Task) => self.cache_off = setting.chosen(["auto", "off"])?,
            (key @ ("skip" | "redact"), Kind::Task) => {
                let message = format!(
                    "a task cannot `{key}` an argument: recovery runs it from its log, which must hold them all. \
                     Give a client to Engine::builder().provide(client) and take it by relive::provided::<T>()"
                );
                return Err(Error::new_spanned(setting, message));
            }
            (key, _) if PLANNED.contains(&key) => {
                return Err(Error::new_spanned(&setting.key, format!("`{key}` is not in this version of relive")));
            }
            (key, kind) => {
                let known = kind.known().iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                return Err(Error::new_spanned(&setting.key, format!("unknown setting `{key}`: {kind} takes {known}")));
            }
        }
        Ok(())
    }
}

/// A function with its tokens from the signature on, as they were written.
struct Function {
    item: ItemFn,
    tokens: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        let tokens: TokenStream = input.fork().parse()?;
        if !tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "fn")) {
            return Err(input.error("#[task] and #[trace] go on an `async fn`"));
        }
        let body = |token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if !tokens.clone().into_iter().any(body) {
            return Err(Error::new_spanned(tokens, "#[task] and #[trace] go on an `async fn` with a body"));
        }
        let mut item: ItemFn = input.parse()?;
        item.attrs.splice(0..0, attributes);
        // What stands inside the braces (`#![allow(…)]`) moves to the function that replaces this one.
        item.attrs.iter_mut().for_each(|attribute| attribute.style = AttrStyle::Outer);
        item.vis = visibility;
        Ok(Function { item, tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::Kind::{Task, Trace};
    use crate::testing::{expansion, messages};

    const FUNCTION: &str = "async fn f(a: u32) -> Result<u32, E> { Ok(a) }";

    #[test]
    fn each_bad_setting_has_its_own_complaint() {
        let settings = r#"name = "", speed = 3, outside = "maybe", retries = 3, skip = a, "x", crate(x), crate = y"#;
        assert_eq!(
            messages(Trace, settings, FUNCTION),
            [
                "expected a setting, as in `name = \"…\"`",
                "`name` takes a string that is not empty, as in `name = \"fetch\"`",
                "unknown setting `speed`: #[trace] takes `name`, `skip`, `outside`, `crate`",
                "`outside` is \"error\" (the default) or \"call\"",
                "`retries` is not in this version of relive",
                "`skip` takes names of arguments, as in `skip(client)`",
                "`crate` takes a path, as in `crate = my::relive`",
                "`crate` is given twice",
            ]
        );
    }

    #[test]
    fn a_task_cannot_leave_arguments_out() {
        let messages = messages(Task, r#"skip(a), redact(a), cache = "on", outside = "call""#, FUNCTION);
        assert!(messages[0].starts_with("a task cannot `skip` an argument") && messages[0].contains("provide(client)"));
        assert!(messages[1].starts_with("a task cannot `redact` an argument"));
        assert_eq!(messages[2], "`cache` is \"auto\" (the default) or \"off\"");
        assert_eq!(messages[3], "unknown setting `outside`: #[task] takes `name`, `cache`, `crate`");
    }

    #[test]
    fn settings_reach_the_expansion() {
        let trace = expansion(Trace, r#"name = "old", outside = "call", crate = my::relive,"#, FUNCTION);
        assert!(trace.contains("name : \"old\"") && trace.contains("outside_call : true"), "{trace}");
        assert!(trace.contains("my :: relive :: __private") && !trace.contains(":: relive :: Trace <:"), "{trace}");
        assert!(expansion(Task, r#"cache = "off""#, FUNCTION).contains("CacheMode :: Off"));
        assert!(expansion(Task, "", FUNCTION).contains("CacheMode :: Auto"));
    }

    #[test]
    fn only_a_function_with_a_body_is_accepted() {
        assert_eq!(messages(Task, "", "struct S;"), ["#[task] and #[trace] go on an `async fn`"]);
        let declared = messages(Trace, "", "async fn f() -> Result<(), E>;");
        assert_eq!(declared, ["#[task] and #[trace] go on an `async fn` with a body"]);
    }

    #[test]
    fn a_complaint_about_a_setting_is_not_lost_when_the_function_does_not_parse() {
        assert_eq!(messages(Task, "speed", "async fn f( {}").len(), 1);
        assert_eq!(messages(Task, "speed", "fn f() -> {}").len(), 2);
    }
}
