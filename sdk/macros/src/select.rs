//! Makes every `tokio::select!` in a task's body repeatable.
//!
//! Unbiased, it polls first a branch that it picks at random, and a replay picks another. So `biased;` is put in where it
//! is missing. Only where the macro is written by that path: a bare `select!` may be any crate's, and gets a warning.
//!
//! Works on tokens, not on the syntax tree, to see into the arguments of other macros: a `select!` inside a `join!`.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::quote_spanned;

/// Returns the body with `biased;` in every `tokio::select!`, and the place of every other `select!` that picks at random.
pub(crate) fn biased(body: TokenStream) -> (TokenStream, Vec<Span>) {
    let mut unbiased = vec![];
    (walk(body, &mut unbiased), unbiased)
}

fn walk(tokens: TokenStream, unbiased: &mut Vec<Span>) -> TokenStream {
    let mut walked: Vec<TokenTree> = vec![];
    for token in tokens {
        let token = match token {
            TokenTree::Group(group) => {
                let mut inner = walk(group.stream(), unbiased);
                let called = called(&walked).filter(|_| group.delimiter() != Delimiter::None);
                match called {
                    Some((Owner::Tokio, _)) if !is_biased(&inner) => {
                        let mark = quote_spanned!(group.span_open()=> biased;);
                        inner = mark.into_iter().chain(inner).collect();
                    }
                    Some((Owner::Unknown, at)) if !is_biased(&inner) => unbiased.push(at),
                    Some((Owner::Futures, at)) => unbiased.push(at),
                    _ => {}
                }
                let mut rebuilt = Group::new(group.delimiter(), inner);
                rebuilt.set_span(group.span());
                rebuilt.into()
            }
            other => other,
        };
        walked.push(token);
    }
    walked.into_iter().collect()
}

enum Owner {
    Tokio,
    /// Its `select!` has no `biased;`.
    Futures,
    Unknown,
}

/// Whose `select!` the last tokens call, if they do; and where.
fn called(tokens: &[TokenTree]) -> Option<(Owner, Span)> {
    let punct = |token: Option<&TokenTree>, sign| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == sign);
    let mut back = tokens.iter().rev();
    if !punct(back.next(), '!') {
        return None;
    }
    let Some(TokenTree::Ident(select)) = back.next().filter(|token| token.to_string() == "select") else { return None };
    if !punct(back.next(), ':') {
        return Some((Owner::Unknown, select.span()));
    }
    back.next();
    match back.next()?.to_string().as_str() {
        "tokio" => Some((Owner::Tokio, select.span())),
        "futures" | "futures_util" => Some((Owner::Futures, select.span())),
        // `relive::select!` above all; of the others nothing is known.
        _ => None,
    }
}

fn is_biased(inner: &TokenStream) -> bool {
    matches!(inner.clone().into_iter().next(), Some(TokenTree::Ident(word)) if word == "biased")
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn biased_text(body: TokenStream) -> (String, usize) {
        let (body, unbiased) = biased(body);
        (body.to_string(), unbiased.len())
    }

    #[test]
    fn a_select_written_by_tokios_path_is_made_biased() {
        let (body, unbiased) = biased_text(quote!({
            tokio::select! { a = b => c, }
            ::tokio::select!(a = b => c);
        }));
        let expected = quote!({
            tokio::select! { biased; a = b => c, }
            ::tokio::select!(biased; a = b => c);
        });
        assert_eq!((body, unbiased), (expected.to_string(), 0));
    }

    #[test]
    fn a_select_inside_another_macro_is_found() {
        let (body, _) = biased_text(quote!({
            join!(async {
                tokio::select! { a = b => tokio::select! { c = d => e } }
            })
        }));
        assert_eq!(body.matches("biased ;").count(), 2);
    }

    #[test]
    fn what_is_biased_already_stays_as_it_is() {
        let body = quote!({
            tokio::select! { biased; a = b => c }
            select! { biased; a = b => c }
            relive::select! { x }
        });
        assert_eq!(biased_text(body.clone()), (body.to_string(), 0));
    }

    #[test]
    fn a_select_of_unknown_origin_is_reported_and_left_alone() {
        let body = quote!({
            select! { a = b => c }
            futures::select! { a = b => c }
            let select = !{ x };
        });
        assert_eq!(biased_text(body.clone()), (body.to_string(), 2));
    }
}
