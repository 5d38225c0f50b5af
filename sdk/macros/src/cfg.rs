//! Which of a function's code a build takes: the predicates of `cfg` in it.
//!
//! Asked by `hash`, whose tokens are the same in every build: what each predicate comes to is mixed in by the compiler, as only
//! it knows (`expand`). Attributes count wherever they stand (statements, fields, match arms, arguments), and so do
//! `cfg!(…)`, `cfg_attr` and `cfg_select!`, also inside other macros.
//!
//! Invariant: a function without any has no predicate; what is no predicate as the compiler reads one is left out, as it
//! belongs to another macro.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::hash::is_punct;

/// The predicates in these tokens, in order, each as often as it is written.
pub(crate) fn predicates(tokens: &TokenStream) -> Vec<TokenStream> {
    let mut found = Vec::new();
    walk(tokens.clone(), &mut found);
    found
}

fn walk(tokens: TokenStream, found: &mut Vec<TokenStream>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            // `#[cfg(…)]`, `#![cfg(…)]`
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                tokens.next_if(|next| is_punct(next, '!'));
                let is_attribute = |next: &TokenTree| matches!(next, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket);
                if let Some(TokenTree::Group(group)) = tokens.next_if(is_attribute) {
                    attribute(group.stream(), found);
                }
            }
            TokenTree::Ident(word) if word == "cfg" || word == "cfg_select" => {
                if tokens.next_if(|next| is_punct(next, '!')).is_none() {
                    continue;
                }
                match tokens.next_if(|next| matches!(next, TokenTree::Group(_))) {
                    Some(TokenTree::Group(group)) if word == "cfg" => take(group.stream(), found),
                    Some(TokenTree::Group(group)) => arms(group.stream(), found),
                    _ => {}
                }
            }
            TokenTree::Group(group) => walk(group.stream(), found),
            _ => {}
        }
    }
}

/// What stands in the brackets of an attribute, or behind the predicate of a `cfg_attr`.
fn attribute(tokens: TokenStream, found: &mut Vec<TokenStream>) {
    let mut tokens = tokens.into_iter();
    let Some(TokenTree::Ident(name)) = tokens.next() else { return };
    match (name.to_string().as_str(), tokens.next()) {
        ("cfg", Some(TokenTree::Group(group))) => take(group.stream(), found),
        ("cfg_attr", Some(TokenTree::Group(group))) => {
            let mut parts = split(group.stream()).into_iter();
            parts.next().into_iter().for_each(|predicate| take(predicate, found));
            parts.for_each(|part| attribute(part, found));
        }
        // What other attributes hold is code, too: a key, a default.
        (_, Some(TokenTree::Group(group))) => walk(group.stream(), found),
        (_, Some(_)) => walk(tokens.collect(), found),
        (_, None) => {}
    }
}

/// The arms of a `cfg_select!`: predicates, each followed by `=>` and what it selects. `_` is none.
fn arms(tokens: TokenStream, found: &mut Vec<TokenStream>) {
    let mut predicate = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if !is_punct(&token, '=') || tokens.next_if(|next| is_punct(next, '>')).is_none() {
            predicate.extend([token]);
            continue;
        }
        take(std::mem::take(&mut predicate), found);
        if let Some(TokenTree::Group(group)) = tokens.next_if(|next| matches!(next, TokenTree::Group(_))) {
            walk(group.stream(), found);
        } else {
            let selected = std::iter::from_fn(|| tokens.next_if(|next| !is_punct(next, ','))).collect();
            walk(selected, found);
        }
        tokens.next_if(|next| is_punct(next, ','));
    }
}

/// Takes a predicate, if it is one.
fn take(tokens: TokenStream, found: &mut Vec<TokenStream>) {
    // A last comma is allowed where one predicate stands, but not by all that reads it.
    if let [only] = split(tokens).as_slice()
        && is_predicate(only)
    {
        found.push(only.clone());
    }
}

/// Parts between commas; none for what follows the last comma.
fn split(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens {
        match (is_punct(&token, ','), parts.last_mut()) {
            (true, _) | (_, None) => parts.push(TokenStream::new()),
            (false, Some(part)) => part.extend([token]),
        }
    }
    if parts.last().is_some_and(TokenStream::is_empty) {
        parts.pop();
    }
    parts
}

/// `unix`, `feature = "x"`, `all(…)`, `any(…)`, `not(…)`, `true`: what a stable compiler takes. Not `$predicate`, which is
/// a macro's that stands in the function.
fn is_predicate(tokens: &TokenStream) -> bool {
    let tokens: Vec<TokenTree> = ungrouped(tokens.clone());
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => word != "_",
        [TokenTree::Ident(_), equals, TokenTree::Literal(_)] => is_punct(equals, '='),
        [TokenTree::Ident(word), TokenTree::Group(group)] => {
            ["all", "any", "not"].iter().any(|name| word == name)
                && group.delimiter() == Delimiter::Parenthesis
                && split(group.stream()).iter().all(is_predicate)
        }
        _ => false,
    }
}

/// Without the groups that nobody wrote: what another macro was given and passes on.
fn ungrouped(tokens: TokenStream) -> Vec<TokenTree> {
    let mut flat = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => flat.extend(ungrouped(group.stream())),
            other => flat.push(other),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Kind::{Task, Trace};
    use crate::testing::{dense, expansion};

    fn found(body: &str) -> Vec<String> {
        predicates(&body.parse().unwrap()).iter().map(|predicate| dense(&predicate.to_string())).collect()
    }

    #[test]
    fn every_predicate_is_found_wherever_it_stands() {
        assert_eq!(found(r#"{ if cfg!(feature = "x") { a() } }"#), [r#"feature="x""#]);
        assert_eq!(
            found("{ let x = core::cfg![unix,]; g(std::cfg!{ debug_assertions }) }"),
            ["unix", "debug_assertions"]
        );
        assert_eq!(found("fn f(#[cfg(unix)] a: A) { #![cfg(windows)] #[cfg(all(a, not(b)))] let x = 1; }").len(), 3);
        assert_eq!(found("match x { #[cfg(a)] 1 => 2, _ => S { #[cfg(b)] c: 3, ..d } }"), ["a", "b"]);
        assert_eq!(found("#[cfg_attr(a, cfg(b), cfg_attr(c, inline))] struct S;"), ["a", "b", "c"]);
        assert_eq!(found("cfg_if! { if #[cfg(a)] { 1 } else if #[cfg(b)] { cfg!(c) } else { 2 } }"), ["a", "b", "c"]);
        assert_eq!(found("cfg_select! { a => { cfg!(b) } all(c, d) => 1, _ => { 2 } }"), ["a", "b", "all(c,d)"]);
        assert_eq!(found("#[serde(default = cfg!(a))] x"), ["a"]);
    }

    #[test]
    fn what_is_no_predicate_is_left_to_whom_it_belongs() {
        for none in [
            "cfg(unix)",
            "let cfg = !cfg;",
            "macro_rules! m { ($p:meta) => { #[cfg($p)] x() } }",
            "#[cfg] #[cfg()] #[cfg(a b)] #[cfg(version(\"1\"))] x",
            "cfg!()",
            "#cfg",
        ] {
            assert_eq!(found(none), [] as [&str; 0], "{none}");
        }
    }

    #[test]
    fn the_code_is_what_the_build_makes_of_it() {
        let function = |body: &str| format!("async fn f() -> Result<u32, E> {{ {body} }}");
        for kind in [Task, Trace] {
            let plain = dense(&expansion(kind, "", &function("Ok(1)")));
            assert!(plain.contains("code:::relive::__private::CodeHash::from_bytes(["), "{plain}");
            let built = dense(&expansion(kind, "", &function("#[cfg(unix)] a(); Ok(cfg!(windows).into())")));
            assert!(built.contains("code:::relive::__private::CodeHash::from_bytes(["), "{built}");
            for part in ["::core::cfg!(unix)", "::core::cfg!(windows)"] {
                assert_eq!(built.matches(part).count(), 1, "{part}: {built}");
            }
        }
    }
}
