//! One setting of an attribute as it is written: `key`, `key = value` or `key(list)`.
//!
//! Settings are cut at the commas first and read one by one, so that each has its own complaint. Each kind of value is
//! read here; which key takes which kind, `settings` says.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, LitFloat, LitInt, LitStr, Token};

use crate::duration;
use crate::errors::Errors;

/// A key and what follows it.
pub(crate) struct Setting {
    pub(crate) key: Ident,
    pub(crate) value: TokenStream,
}

impl ToTokens for Setting {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.key.to_tokens(tokens);
        self.value.to_tokens(tokens);
    }
}

impl Setting {
    pub(crate) fn split(settings: TokenStream, errors: &mut Errors) -> Vec<Setting> {
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

    /// Reads each of a setting's parts, which may be given once. Says whether there are any.
    pub(crate) fn each_part(
        parts: TokenStream,
        errors: &mut Errors,
        mut read: impl FnMut(&Setting, &mut Errors),
    ) -> bool {
        let written = Self::split(parts, errors);
        for (index, part) in written.iter().enumerate() {
            if written[..index].iter().any(|earlier| earlier.key == part.key) {
                errors.push(&part.key, format!("`{}` is given twice", part.key));
            } else {
                read(part, errors);
            }
        }
        !written.is_empty()
    }

    /// The value of `key = value`, or an error that says what was `expected`.
    pub(crate) fn assigned<T: Parse>(&self, expected: &str) -> syn::Result<T> {
        let value = |input: ParseStream<'_>| {
            input.parse::<Token![=]>()?;
            input.parse()
        };
        value.parse2(self.value.clone()).map_err(|_| Error::new_spanned(self, expected))
    }

    /// The string of `key = "…"`, which is not empty.
    pub(crate) fn text(&self, example: &str) -> syn::Result<LitStr> {
        let expected = format!("`{}` takes a string that is not empty, as in `{} = \"{example}\"`", self.key, self.key);
        let text: LitStr = self.assigned(&expected)?;
        if text.value().is_empty() { Err(Error::new_spanned(text, expected)) } else { Ok(text) }
    }

    /// Which of the choices the string of `key = "…"` is. The first is the default.
    pub(crate) fn chosen(&self, choices: &[&str]) -> syn::Result<usize> {
        let (default, others) = choices.split_first().expect("there is a choice");
        let others: Vec<_> = others.iter().map(|choice| format!("\"{choice}\"")).collect();
        let expected = format!("`{}` is \"{default}\" (the default) or {}", self.key, others.join(" or "));
        let choice: LitStr = self.assigned(&expected)?;
        let value = choice.value();
        choices.iter().position(|choice| *choice == value).ok_or_else(|| Error::new_spanned(choice, expected))
    }

    /// The names in `key(a, b)`.
    pub(crate) fn listed(&self) -> syn::Result<Vec<Ident>> {
        self.names("arguments", "client")
    }

    /// The names in `key(a, b)`, and of what they are.
    pub(crate) fn names(&self, of: &str, example: &str) -> syn::Result<Vec<Ident>> {
        let expected = format!("`{}` takes names of {of}, as in `{}({example})`", self.key, self.key);
        self.list(Ident::parse_any, &expected)
    }

    /// The paths in `key(a, b.c)`.
    pub(crate) fn paths(&self) -> syn::Result<Vec<FieldPath>> {
        let expected = format!(
            "`{}` takes names of arguments or of fields in them, as in `{}(token, user.password)`",
            self.key, self.key
        );
        self.list(FieldPath::parse, &expected)
    }

    fn list<T>(&self, item: fn(ParseStream<'_>) -> syn::Result<T>, expected: &str) -> syn::Result<Vec<T>> {
        let list = |input: ParseStream<'_>| {
            let content;
            syn::parenthesized!(content in input);
            Punctuated::<T, Token![,]>::parse_terminated_with(&content, item)
        };
        let items = list.parse2(self.value.clone()).map_err(|_| Error::new_spanned(self, expected))?;
        if items.is_empty() { Err(Error::new_spanned(self, expected)) } else { Ok(items.into_iter().collect()) }
    }

    /// A key that stands alone.
    pub(crate) fn alone(&self) -> syn::Result<()> {
        if self.value.is_empty() {
            return Ok(());
        }
        Err(Error::new_spanned(self, format!("`{}` stands alone, without a value", self.key)))
    }

    /// The number of `key = 3`, at least 1.
    pub(crate) fn count(&self) -> syn::Result<u32> {
        let expected = format!("`{}` takes a whole number from 1 on, as in `{} = 3`", self.key, self.key);
        let number: LitInt = self.assigned(&expected)?;
        let count = number.base10_parse().ok().filter(|count| *count > 0 && number.suffix().is_empty());
        count.ok_or_else(|| Error::new_spanned(number, expected))
    }

    /// The number of `key = 1.5`, at least 1.
    pub(crate) fn factor(&self) -> syn::Result<f64> {
        let expected = format!("`{}` takes a number from 1 on, as in `{} = 2.0`", self.key, self.key);
        let number: Number = self.assigned(&expected)?;
        let factor = number.0.filter(|factor| *factor >= 1.0 && factor.is_finite());
        factor.ok_or_else(|| Error::new_spanned(self, expected))
    }

    /// The duration of `key = "30s"`. `zero` says why it is not zero.
    pub(crate) fn duration(&self, zero: &str) -> syn::Result<Duration> {
        let expected = format!(
            "`{}` takes a duration, as in `{} = \"30s\"`: whole numbers of d, h, m, s and ms in this order, as \"1h30m\"",
            self.key, self.key
        );
        let text: LitStr = self.assigned(&expected)?;
        match duration::parse(&text.value()) {
            Some(Duration::ZERO) => Err(Error::new_spanned(text, format!("`{}` is zero: {zero}", self.key))),
            Some(duration) => Ok(duration),
            None => Err(Error::new_spanned(text, expected)),
        }
    }
}

/// An argument, or a field in it: `user.password`.
pub(crate) struct FieldPath(pub(crate) Punctuated<Ident, Token![.]>);

impl FieldPath {
    /// The argument.
    pub(crate) fn argument(&self) -> &Ident {
        self.0.first().expect("a path has a beginning")
    }

    /// As it is in the record: `user.type` for `user.r#type`.
    pub(crate) fn text(&self) -> String {
        let parts: Vec<_> = self.0.iter().map(|part| part.unraw().to_string()).collect();
        parts.join(".")
    }
}

impl Parse for FieldPath {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Punctuated::parse_separated_nonempty_with(input, Ident::parse_any).map(FieldPath)
    }
}

impl ToTokens for FieldPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// A number, with or without a point.
struct Number(Option<f64>);

impl Parse for Number {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitInt) {
            let number: LitInt = input.parse()?;
            return Ok(Number(number.base10_parse().ok().filter(|_| number.suffix().is_empty())));
        }
        let number: LitFloat = input.parse()?;
        Ok(Number(number.base10_parse().ok().filter(|_| number.suffix().is_empty())))
    }
}
