//! Finds in a type what cannot be recorded, owned or named.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Type;
use syn::visit::{self, Visit};

/// What a type must not hold, where it stands.
#[derive(Default)]
pub(crate) struct Found {
    /// References and lifetimes, other than `'static`.
    pub(crate) borrows: Vec<TokenStream>,
    /// References that can be written through.
    pub(crate) mutable: Vec<TokenStream>,
    /// `impl Trait`.
    pub(crate) unnamed: Vec<TokenStream>,
}

impl Found {
    pub(crate) fn within(ty: &Type) -> Self {
        let mut found = Found::default();
        found.visit_type(ty);
        found
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        if reference.mutability.is_some() {
            self.mutable.push(reference.to_token_stream());
        }
        if reference.lifetime.as_ref().is_none_or(|lifetime| lifetime.ident != "static") {
            self.borrows.push(reference.to_token_stream());
        } else {
            visit::visit_type_reference(self, reference);
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if lifetime.ident != "static" {
            self.borrows.push(lifetime.to_token_stream());
        }
    }

    fn visit_type_impl_trait(&mut self, unnamed: &'ast syn::TypeImplTrait) {
        self.unnamed.push(unnamed.to_token_stream());
    }

    // The lifetimes in `fn(&str)`, `Fn(&str)` and `for<'a> Trait<'a>` belong to a later call, not to this one.

    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}

    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast syn::ParenthesizedGenericArguments) {}

    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        if bound.lifetimes.is_none() {
            visit::visit_trait_bound(self, bound);
        }
    }
}
