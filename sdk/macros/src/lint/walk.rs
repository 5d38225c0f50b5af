//! Goes through a body and gathers what the lints find.
//!
//! Closures and `async` blocks are the body, also where they are arguments; functions and other items in it are not.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::ext::IdentExt;

use super::order::{Binding, goes_through, hashed_at};
use super::words::{Path, behind_item, chain, group, is_member, is_sign, is_word};
use super::{Finding, Lint, calls};

/// The names that are hashed collections, where the walk is.
type Maps = BTreeSet<String>;

/// Everything found, in the order of the text. `maps` are the arguments that are hashed.
pub(super) fn walk(body: TokenStream, mut maps: Maps) -> Vec<Finding> {
    let mut found = vec![];
    stream(body, &mut maps, &mut found);
    found
}

fn stream(tokens: TokenStream, maps: &mut Maps, found: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    level(&tokens, maps, found);
}

/// The tokens of one level.
fn level(tokens: &[TokenTree], maps: &mut Maps, found: &mut Vec<Finding>) {
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                stream(group.stream(), &mut maps.clone(), found);
                at + 1
            }
            TokenTree::Group(group) => {
                stream(group.stream(), maps, found);
                at + 1
            }
            TokenTree::Ident(_) if is_member(tokens, at) => member(tokens, at, found),
            TokenTree::Ident(_) => words(tokens, at, maps, found),
            _ => at + 1,
        };
    }
}

/// What begins with a word. Returns where to go on.
fn words(tokens: &[TokenTree], at: usize, maps: &mut Maps, found: &mut Vec<Finding>) -> usize {
    if let Some(behind) = behind_item(tokens, at) {
        return behind;
    }
    if is_word(tokens, at, "let") {
        return binding(tokens, at, maps, found);
    }
    if is_word(tokens, at, "for")
        // `for<'a>` is a type's.
        && !is_sign(tokens, at + 1, '<')
        && let Some(behind) = for_loop(tokens, at, maps, found)
    {
        return behind;
    }
    let Some(path) = Path::read(tokens, at) else { return at + 1 };
    // What a macro is called by is no call of a function.
    if !is_sign(tokens, path.behind, '!') || is_sign(tokens, path.behind + 1, '=') {
        if let Some(lint) = calls::lint(&path) {
            found.push(Finding { lint, at: path.end });
        } else if path.names.len() == 1 && maps.contains(path.last()) {
            let (methods, _) = chain(tokens, path.behind);
            if let Some(method) = goes_through(&methods) {
                found.push(Finding { lint: Lint::MapOrder, at: method.name.span() });
            }
        }
    }
    path.behind
}

/// A method or a field: `.collect::<HashSet<_>>().into_iter()` goes through what has no name.
fn member(tokens: &[TokenTree], at: usize, found: &mut Vec<Finding>) -> usize {
    if is_word(tokens, at, "collect") {
        let (methods, _) = chain(tokens, at - 1);
        if hashed_at(&methods[..methods.len().min(1)]).is_some()
            && let Some(method) = goes_through(&methods[1..])
        {
            found.push(Finding { lint: Lint::MapOrder, at: method.name.span() });
        }
    }
    at + 1
}

/// A `let`, up to its end: what it binds is not bound in its own value.
fn binding(tokens: &[TokenTree], at: usize, maps: &mut Maps, found: &mut Vec<Finding>) -> usize {
    let condition = at.checked_sub(1).is_some_and(|before| {
        is_word(tokens, before, "if") || is_word(tokens, before, "while") || is_sign(tokens, before, '&')
    });
    let end = (at..tokens.len()).find(|index| is_sign(tokens, *index, ';')).unwrap_or(tokens.len());
    if condition {
        // Its end is the block: what it binds is bound there, and hides what had its name.
        let pattern = (at..end).take_while(|index| !is_sign(tokens, *index, '='));
        pattern.for_each(|index| forget(&tokens[index], maps));
        return at + 1;
    }
    let statement = &tokens[at + 1..end];
    let binding = Binding::read(statement);
    let before = found.len();
    level(statement, &mut maps.clone(), found);
    if binding.is_settled(tokens.get(end + 1..).unwrap_or_default()) {
        let mut index = 0;
        found.retain(|finding| {
            index += 1;
            index <= before || finding.lint != Lint::MapOrder
        });
    }
    let is_hashed = binding.is_hashed(|name| maps.contains(name));
    match binding.name {
        Some(name) if is_hashed => drop(maps.insert(name)),
        Some(name) => drop(maps.remove(&name)),
        None => {
            let pattern = statement.iter().take_while(|token| token.to_string() != "=");
            pattern.for_each(|token| forget(token, maps));
        }
    }
    end + 1
}

/// `for pattern in value { … }`. Returns where to go on, if it is one.
fn for_loop(tokens: &[TokenTree], at: usize, maps: &mut Maps, found: &mut Vec<Finding>) -> Option<usize> {
    let inside = (at + 1..tokens.len()).find(|index| is_word(tokens, *index, "in"))?;
    let block = (inside + 1..tokens.len()).find(|index| group(tokens, *index, Delimiter::Brace).is_some())?;
    let value = &tokens[inside + 1..block];
    let borrowed = value.iter().take_while(|token| matches!(token.to_string().as_str(), "&" | "mut")).count();
    match &value[borrowed..] {
        [TokenTree::Ident(name)] if maps.contains(&name.unraw().to_string()) => {
            found.push(Finding { lint: Lint::MapOrder, at: name.span() });
        }
        _ => level(value, &mut maps.clone(), found),
    }
    let mut inner = maps.clone();
    tokens[at + 1..inside].iter().for_each(|token| forget(token, &mut inner));
    if let Some(block) = group(tokens, block, Delimiter::Brace) {
        stream(block.stream(), &mut inner, found);
    }
    Some(block + 1)
}

/// A pattern binds these names to something else.
fn forget(pattern: &TokenTree, maps: &mut Maps) {
    match pattern {
        TokenTree::Ident(name) => drop(maps.remove(&name.unraw().to_string())),
        TokenTree::Group(group) => group.stream().into_iter().for_each(|token| forget(&token, maps)),
        _ => {}
    }
}
