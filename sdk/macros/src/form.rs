//! Which kind of function it is: that decides how its effect runs and what its call returns.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, Path, PathArguments, ReturnType, Type, TypeParamBound};

use crate::parse::Source;

/// What a function is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `async fn`: its effect is a future.
    Async,
    /// A plain `fn`: it runs where it is called, and returns its result.
    Inline,
    /// A plain `fn` with `blocking`: it runs on another thread, and its call is a future.
    Blocking,
    /// `fn -> impl Stream`: each of its items is recorded.
    Stream,
    /// `fn -> impl Iterator`: each of its items is recorded.
    Iterator,
}

impl Form {
    pub(crate) fn of(source: &Source) -> Self {
        let signature = &source.function.sig;
        let many = match &signature.output {
            ReturnType::Type(_, ty) => Many::of(ty),
            ReturnType::Default => None,
        };
        match many {
            _ if signature.asyncness.is_some() => Form::Async,
            Some(Many { form, .. }) => form,
            None if source.settings.has("blocking") => Form::Blocking,
            None => Form::Inline,
        }
    }

    /// Whether it has many results, one after the other.
    pub(crate) fn is_many(self) -> bool {
        matches!(self, Form::Stream | Form::Iterator)
    }
}

/// A type that yields one item after the other: `impl Stream<Item = …>` or `impl Iterator<Item = …>`, by any path.
pub(crate) struct Many<'a> {
    pub(crate) form: Form,
    /// The type of the items, if it is said.
    pub(crate) item: Option<&'a Type>,
}

impl<'a> Many<'a> {
    pub(crate) fn of(ty: &'a Type) -> Option<Self> {
        let Type::ImplTrait(unnamed) = ungrouped(ty) else { return None };
        unnamed.bounds.iter().find_map(|bound| match bound {
            TypeParamBound::Trait(bound) => Self::of_path(&bound.path),
            _ => None,
        })
    }

    fn of_path(path: &'a Path) -> Option<Self> {
        let last = path.segments.last()?;
        let form = match last.ident.to_string().as_str() {
            "Stream" => Form::Stream,
            "Iterator" => Form::Iterator,
            _ => return None,
        };
        let item = |argument: &'a GenericArgument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
            _ => None,
        };
        let item = match &last.arguments {
            PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(item),
            _ => None,
        };
        Some(Many { form, item })
    }
}

/// Whether the type is a stream or an iterator in a box, by what it says.
pub(crate) fn is_boxed_many(ty: &Type) -> bool {
    let mut words = vec![];
    collect_words(ty.to_token_stream(), &mut words);
    let has = |word: &str| words.iter().any(|other| other == word);
    has("BoxStream") || has("LocalBoxStream") || has("dyn") && (has("Stream") || has("Iterator"))
}

fn collect_words(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => words.push(word.to_string()),
            TokenTree::Group(group) => collect_words(group.stream(), words),
            _ => {}
        }
    }
}

/// The type without the parentheses, or the invisible ones that another macro left, around it.
pub(crate) fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        other => other,
    }
}
