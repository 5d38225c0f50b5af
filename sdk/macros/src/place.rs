//! Places where the user wrote something, and calls of ours that the compiler takes to stand there.
//!
//! A call that an expansion makes may not type-check because of an argument's type. Then the error should be marked at
//! that type, not at the attribute. The compiler marks a call from its first to its last token; so these get the spans of
//! the type's first and last.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};

#[derive(Clone, Copy)]
pub(crate) struct Place {
    start: Span,
    end: Span,
}

impl Place {
    pub(crate) fn of(node: impl ToTokens) -> Self {
        let mut spans = node.into_token_stream().into_iter().map(|token| token.span());
        let start = spans.next().unwrap_or_else(Span::call_site);
        Place { start, end: spans.last().unwrap_or(start) }
    }

    /// The same tokens, for the compiler from the start of this place to its end.
    pub(crate) fn mark(self, tokens: TokenStream) -> TokenStream {
        let mut marked: Vec<TokenTree> = tokens.into_iter().collect();
        let last = marked.len().saturating_sub(1);
        for (index, token) in marked.iter_mut().enumerate() {
            token.set_span(if index == last { self.end } else { self.start });
        }
        marked.into_iter().collect()
    }

    /// `function(arguments)`, all of it here but what is inside the arguments.
    pub(crate) fn call(self, function: TokenStream, arguments: TokenStream) -> TokenStream {
        let mut list = Group::new(Delimiter::Parenthesis, arguments);
        list.set_span(self.end);
        let mut tokens = self.mark(function);
        tokens.extend([TokenTree::Group(list)]);
        tokens
    }

    /// `&variable`, all of it here. What the variable refers to stays as it is.
    pub(crate) fn borrow(self, variable: &Ident) -> TokenStream {
        let mut variable = variable.clone();
        variable.set_span(self.end.resolved_at(variable.span()));
        quote_spanned!(self.start=> &#variable)
    }
}
