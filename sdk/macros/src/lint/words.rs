//! Reads the words of a body: paths, generic arguments, chains of methods, items to pass over.
//!
//! Every function takes the tokens of one level and an index into them, and looks into no group.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenTree};

/// The word that stands there.
pub(super) fn word(tokens: &[TokenTree], at: usize) -> Option<&Ident> {
    match tokens.get(at)? {
        TokenTree::Ident(word) => Some(word),
        _ => None,
    }
}

pub(super) fn is_word(tokens: &[TokenTree], at: usize, text: &str) -> bool {
    word(tokens, at).is_some_and(|word| word == text)
}

pub(super) fn is_sign(tokens: &[TokenTree], at: usize, sign: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

pub(super) fn group(tokens: &[TokenTree], at: usize, delimiter: Delimiter) -> Option<&Group> {
    match tokens.get(at)? {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

/// Whether `::` stands there.
pub(super) fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_sign(tokens, at, ':') && is_sign(tokens, at + 1, ':')
}

/// Whether a method or a field follows: one point, not two as in a range.
pub(super) fn is_point(tokens: &[TokenTree], at: usize) -> bool {
    let before = at.checked_sub(1).is_some_and(|before| is_sign(tokens, before, '.'));
    is_sign(tokens, at, '.') && !is_sign(tokens, at + 1, '.') && !before
}

/// Whether the word is a method's or a field's.
pub(super) fn is_member(tokens: &[TokenTree], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| is_point(tokens, before))
}

/// The index behind `<…>`, if that stands there.
pub(super) fn behind_generics(tokens: &[TokenTree], at: usize) -> Option<usize> {
    if !is_sign(tokens, at, '<') {
        return None;
    }
    let mut depth = 0usize;
    for index in at..tokens.len() {
        let arrow = index > 0 && is_sign(tokens, index - 1, '-');
        if is_sign(tokens, index, '<') {
            depth += 1;
        } else if is_sign(tokens, index, '>') && !arrow {
            depth -= 1;
            if depth == 0 {
                return Some(index + 1);
            }
        }
    }
    None
}

/// A path: `tokio::time::sleep`, `Vec::<u8>::new`.
pub(super) struct Path {
    /// Its names, without generic arguments.
    pub(super) names: Vec<String>,
    /// Where its last name is.
    pub(super) end: Span,
    /// The index behind it.
    pub(super) behind: usize,
}

impl Path {
    /// The path that begins with this word.
    pub(super) fn read(tokens: &[TokenTree], at: usize) -> Option<Self> {
        let first = word(tokens, at)?;
        let mut path = Path { names: vec![first.to_string()], end: first.span(), behind: at + 1 };
        while is_colons(tokens, path.behind) {
            let next = path.behind + 2;
            if let Some(behind) = behind_generics(tokens, next) {
                path.behind = behind;
            } else if let Some(name) = word(tokens, next) {
                path.names.push(name.to_string());
                path.end = name.span();
                path.behind = next + 1;
            } else {
                break;
            }
        }
        Some(path)
    }

    /// The last name.
    pub(super) fn last(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }
}

/// A method call of a chain.
pub(super) struct Method<'a> {
    pub(super) name: &'a Ident,
    /// What stands in its `::<…>`.
    pub(super) generics: &'a [TokenTree],
}

/// The methods that are called one after the other, from the point on that stands there: `.iter().map(f)?.await.count()`.
/// And the index behind them.
pub(super) fn chain(tokens: &[TokenTree], mut at: usize) -> (Vec<Method<'_>>, usize) {
    let mut methods = vec![];
    loop {
        if is_sign(tokens, at, '?') {
            at += 1;
            continue;
        }
        if !is_point(tokens, at) {
            return (methods, at);
        }
        let Some(name) = word(tokens, at + 1) else { return (methods, at) };
        let mut behind = at + 2;
        let mut generics: &[TokenTree] = &[];
        if is_colons(tokens, behind)
            && let Some(end) = behind_generics(tokens, behind + 2)
        {
            generics = &tokens[behind + 3..end - 1];
            behind = end;
        }
        if group(tokens, behind, Delimiter::Parenthesis).is_some() {
            methods.push(Method { name, generics });
            at = behind + 1;
        } else if name == "await" {
            at = behind;
        } else {
            // A field: what follows is another value's.
            return (methods, at);
        }
    }
}

/// The index behind an item, if one begins there: a function in a body is no part of it, and what `use` names is no call.
pub(super) fn behind_item(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let keyword = word(tokens, at)?.to_string();
    let named = word(tokens, at + 1).is_some();
    let until_brace = match keyword.as_str() {
        // `fn(u32) -> u32` is a type.
        "fn" | "mod" | "trait" | "struct" | "enum" | "union" if named => true,
        "impl" => true,
        "macro_rules" if is_sign(tokens, at + 1, '!') => true,
        "use" => false,
        "extern" if is_word(tokens, at + 1, "crate") => false,
        _ => return None,
    };
    let end = (at..tokens.len())
        .find(|index| is_sign(tokens, *index, ';') || until_brace && group(tokens, *index, Delimiter::Brace).is_some());
    Some(end.map_or(tokens.len(), |end| end + 1))
}
