//! Which loops and iterators go through a `HashMap` or `HashSet`, as far as names as written tell: an argument or a `let`
//! whose type or value says so.
//!
//! Each process has another order. What does not show it (a count, a maximum, a collection that is sorted) is left alone.

use proc_macro2::TokenTree;
use syn::ext::IdentExt;
use syn::{FnArg, Pat, Type};

use super::words::{Method, Path, chain, group, is_colons, is_sign, is_word, word};
use crate::form::ungrouped;

const HASHED: &[&str] = &["HashMap", "HashSet"];

/// What goes through all of them, one after the other.
const ITERATES: &[&str] = &[
    "iter",
    "iter_mut",
    "keys",
    "values",
    "values_mut",
    "into_iter",
    "into_keys",
    "into_values",
    "drain",
    "extract_if",
];

/// What comes out of an iterator alike in any order.
const SETTLES: &[&str] = &["all", "any", "count", "len", "max", "min", "product", "sum"];

/// Collections that have an order of their own, or none.
const UNORDERED: &[&str] = &["BTreeMap", "BTreeSet", "BinaryHeap", "HashMap", "HashSet"];

/// The name of an argument that is hashed.
pub(super) fn argument(input: &FnArg) -> Option<String> {
    let FnArg::Typed(input) = input else { return None };
    let Pat::Ident(name) = &*input.pat else { return None };
    let mut ty = ungrouped(&input.ty);
    while let Type::Reference(reference) = ty {
        ty = ungrouped(&reference.elem);
    }
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    HASHED.iter().any(|hashed| last.ident == hashed).then(|| name.ident.unraw().to_string())
}

/// Whether a type as it is written after `let name:` is one of these.
fn is_type(tokens: &[TokenTree], among: &[&str]) -> bool {
    let mut at = 0;
    loop {
        at += match () {
            () if is_sign(tokens, at, '&') || is_word(tokens, at, "mut") => 1,
            // A lifetime.
            () if is_sign(tokens, at, '\'') => 2,
            () => break,
        };
    }
    at += if is_colons(tokens, at) { 2 } else { 0 };
    Path::read(tokens, at).is_some_and(|path| among.contains(&path.last()))
}

/// What a `let` binds: `name: Type = value`.
pub(super) struct Binding<'a> {
    /// If it is one name.
    pub(super) name: Option<String>,
    ty: &'a [TokenTree],
    value: &'a [TokenTree],
}

impl<'a> Binding<'a> {
    /// From behind the `let` to before its `;`.
    pub(super) fn read(tokens: &'a [TokenTree]) -> Self {
        let sign = |sign| (0..tokens.len()).find(|at| is_sign(tokens, *at, sign));
        let assigned = sign('=').unwrap_or(tokens.len());
        let colon = (0..assigned).find(|at| is_sign(tokens, *at, ':'));
        let pattern = &tokens[..colon.unwrap_or(assigned)];
        let name = match pattern {
            [TokenTree::Ident(name)] => Some(name),
            [TokenTree::Ident(mutable), TokenTree::Ident(name)] if mutable == "mut" => Some(name),
            _ => None,
        };
        Binding {
            name: name.map(|name| name.unraw().to_string()),
            ty: colon.map_or(&[], |colon| &tokens[colon + 1..assigned]),
            value: tokens.get(assigned + 1..).unwrap_or_default(),
        }
    }

    /// Whether what it binds is hashed. `is_hashed` says so of a name.
    pub(super) fn is_hashed(&self, is_hashed: impl Fn(&str) -> bool) -> bool {
        if !self.ty.is_empty() {
            return is_type(self.ty, HASHED);
        }
        let borrowed = self.value.iter().take_while(|token| matches!(token.to_string().as_str(), "&" | "mut"));
        let mut from = borrowed.count();
        from += if is_colons(self.value, from) { 2 } else { 0 };
        let Some(path) = Path::read(self.value, from) else { return false };
        let (methods, behind) = if group(self.value, path.behind, proc_macro2::Delimiter::Parenthesis).is_some() {
            chain(self.value, path.behind + 1)
        } else {
            chain(self.value, path.behind)
        };
        if behind < self.value.len() {
            return false;
        }
        match methods.as_slice() {
            // `HashMap::new()`, `&map`, `map.clone()`.
            [] => match path.names.as_slice() {
                [name] => is_hashed(name),
                [.., owner, _] => HASHED.contains(&owner.as_str()),
                [] => false,
            },
            [clone] if clone.name == "clone" => matches!(path.names.as_slice(), [name] if is_hashed(name)),
            [.., last] => collects(last, HASHED),
        }
    }

    /// Whether its value has no order that shows, whatever it was made of: its type says so, or the next statement sorts it.
    pub(super) fn is_settled(&self, next: &[TokenTree]) -> bool {
        let sorted = || {
            let name = word(next, 0).map(|name| name.unraw().to_string());
            let sorts = |method: &Method<'_>| method.name.to_string().starts_with("sort");
            name.is_some() && name == self.name && chain(next, 1).0.first().is_some_and(sorts)
        };
        !self.ty.is_empty() && is_type(self.ty, UNORDERED) || sorted()
    }
}

/// Whether it is `collect::<…>()` of one of these.
fn collects(method: &Method<'_>, among: &[&str]) -> bool {
    method.name == "collect" && is_type(method.generics, among)
}

/// Whether the methods collect into something hashed, and go on: how many there are up to then.
pub(super) fn hashed_at(methods: &[Method<'_>]) -> Option<usize> {
    methods.iter().position(|method| collects(method, HASHED)).map(|at| at + 1)
}

/// The method that goes through what is hashed, if the order shows in what comes of it.
pub(super) fn goes_through<'a, 'b>(methods: &'b [Method<'a>]) -> Option<&'b Method<'a>> {
    let clones = methods.iter().take_while(|method| method.name == "clone").count();
    let (first, rest) = methods[clones..].split_first()?;
    let settles = |method: &Method<'_>| {
        let name = method.name.to_string();
        let of_kind = ["max_by", "min_by", "sorted"].iter().any(|start| name.starts_with(start));
        of_kind || SETTLES.contains(&name.as_str()) || collects(method, UNORDERED)
    };
    (ITERATES.iter().any(|name| first.name == name) && !rest.iter().any(settles)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, found_in};

    /// How often an order shows in a body that has a `HashMap` called `map`.
    fn shown(body: &str) -> usize {
        let lints = found(&format!("async fn f(map: HashMap<String, u32>) -> R {{ {body} }}"));
        assert!(lints.iter().all(|lint| *lint == "map_order"), "{lints:?}");
        lints.len()
    }

    #[test]
    fn going_through_a_map_is_found() {
        for body in [
            "for (key, value) in map { fetch(key).await?; }",
            "for key in &map {}",
            "for entry in &mut map {}",
            "for key in map.keys() {}",
            "let urls: Vec<_> = map.values().cloned().collect();",
            "join_all(map.iter().map(fetch)).await",
            "map.drain().next()",
            "map.clone().into_iter().collect::<Vec<_>>()",
            "let map = map.into_iter().collect::<Vec<_>>(); for pair in map {}",
            "vec![1]; match x { _ => { map.into_keys().for_each(g) } }",
            "let copy = map.clone(); for x in copy {}",
            "let lent = &map; for x in lent {}",
        ] {
            assert_eq!(shown(body), 1, "{body}");
        }
    }

    #[test]
    fn what_is_hashed_is_told_by_its_type_or_its_value() {
        for made in [
            "let x: HashSet<u8> = y;",
            "let mut x: &'a mut std::collections::HashMap<u8, Vec<u8>> = y;",
            "let mut x = HashMap::new();",
            "let x = std::collections::HashSet::<u8>::with_capacity(3);",
            "let x = HashMap::from([(1, 2)]);",
            "let x = y.iter().map(|z| z + 1).collect::<HashSet<_>>();",
            "let x = y.into_iter().collect::<Result<Vec<_>, _>>()?; let x = x.into_iter().collect::<HashSet<u8>>();",
        ] {
            assert_eq!(found_in(&format!("{made} for z in x {{}}")), ["map_order"], "{made}");
        }
        assert_eq!(found_in("x.into_iter().collect::<HashSet<_>>().into_iter().collect::<Vec<_>>()"), ["map_order"]);
        for argument in ["x: &HashMap<u8, u8>", "mut x: HashSet<u8>", "x: &mut std::collections::HashSet<u8>"] {
            assert_eq!(found(&format!("async fn f({argument}) {{ x.iter().next() }}")), ["map_order"], "{argument}");
        }
    }

    #[test]
    fn what_has_no_order_that_shows_is_left_alone() {
        for body in [
            "map.get(&1); map.insert(1, 2); map.len(); map.contains_key(&3); map.entry(4).or_default();",
            "map.values().sum::<u32>(); map.iter().filter(f).count(); map.keys().max(); map.values().all(g)",
            "map.iter().max_by_key(f); map.keys().sorted(); map.into_iter().collect::<BTreeMap<_, _>>()",
            "let sorted: BTreeMap<_, _> = map.into_iter().collect(); for x in sorted {}",
            "let other: HashSet<_> = map.keys().cloned().collect();",
            "let mut keys: Vec<_> = map.keys().collect(); keys.sort(); for key in keys {}",
            "let mut keys = map.keys().collect::<Vec<_>>(); keys.sort_unstable_by_key(f);",
            "let map = BTreeMap::from_iter(map); for x in map {}",
            "let map = sorted(map); map.iter().next()",
            "for map in maps { map.iter().next(); }",
            "if let Some(map) = y { for x in map {} }",
            "self.map.iter(); x.map.keys(); for y in x.map {} map::iter();",
            "fn inner(map: Vec<u8>) { for x in map {} }",
        ] {
            assert_eq!(shown(body), 0, "{body}");
        }
        assert!(found_in("let v: Vec<HashMap<u8, u8>> = x; for y in v {}").is_empty());
        assert!(found_in("let v = HashMap::from(x).len(); for y in v {}").is_empty());
        assert!(
            found("async fn f(map: BTreeMap<u8, u8>, v: Vec<HashSet<u8>>) { for x in map {} v.iter() }").is_empty()
        );
    }

    #[test]
    fn a_name_holds_as_long_as_its_block() {
        assert_eq!(found_in("{ let x = HashMap::new(); } for y in x {}").len(), 0);
        assert_eq!(shown("{ let map = BTreeMap::new(); for y in map {} } for y in map {}"), 1);
    }
}
