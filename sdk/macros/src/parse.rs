//! Parses what the user wrote: the attribute's settings, and the function below the attribute.
//!
//! What a function may look like is for `check` to say.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{AttrStyle, Attribute, Error, ItemFn, Visibility};

use crate::cfg;
use crate::errors::Errors;
use crate::hash;
use crate::setting::Setting;
use crate::settings::Settings;

/// Which attribute was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Trace,
}

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
    /// The predicates that decide what of it a build takes.
    pub(crate) predicates: Vec<TokenStream>,
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
        // A name is none of the code, and neither is what one is warned about, nor how long a log is kept.
        let is_code = |setting: &&Setting| !["name", "allow", "keep"].iter().any(|key| setting.key == key);
        let hashed = written.iter().filter(is_code).map(ToTokens::to_token_stream);
        let predicates = cfg::predicates(&tokens);
        let code = hash::code(hashed.collect(), tokens);
        Ok(Source { kind, settings, function, code, predicates })
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
            return Err(input.error("#[task] and #[trace] go on a function"));
        }
        let body = |token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if !tokens.clone().into_iter().any(body) {
            return Err(Error::new_spanned(tokens, "#[task] and #[trace] go on a function with a body"));
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
    use crate::testing::messages;

    #[test]
    fn only_a_function_with_a_body_is_accepted() {
        assert_eq!(messages(Task, "", "struct S;"), ["#[task] and #[trace] go on a function"]);
        let declared = messages(Trace, "", "async fn f() -> Result<(), E>;");
        assert_eq!(declared, ["#[task] and #[trace] go on a function with a body"]);
    }

    #[test]
    fn a_complaint_about_a_setting_is_not_lost_when_the_function_does_not_parse() {
        assert_eq!(messages(Task, "speed", "async fn f( {}").len(), 1);
        assert_eq!(messages(Task, "speed", "fn f() -> {}").len(), 2);
    }
}
