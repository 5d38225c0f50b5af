//! What a call of a trace gives to the engine: the effect, in the way that its form and its settings ask for.
//!
//! An effect owns its arguments and lends the body those that it takes by reference. One that is repeated keeps its
//! arguments and clones them for each try. One that runs in place borrows what the caller lends.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

use super::Parts;
use crate::check::Argument;
use crate::form::Form;
use crate::place::Place;

impl Parts<'_> {
    /// The statements that end the new function: they make what it returns.
    pub(super) fn effect(&self) -> TokenStream {
        let private = &self.private;
        let again = self.source.settings.has("retries");
        let owned = self.owned();
        let (function, effect) = match self.checked.form {
            Form::Async => {
                let (result, clones) = (self.result(), self.clones(again));
                let future = self.future(quote!(async move { #result }));
                if again {
                    (quote!(trace_again), self.future(quote!(move || { #clones #future })))
                } else {
                    (quote!(trace), self.future(quote!(move || #future)))
                }
            }
            Form::Blocking => {
                let (result, clones) = (self.result(), self.clones(again));
                let work = self.future(quote!(move || { #result }));
                if again {
                    (quote!(blocking_again), self.future(quote!(move || { #clones #work })))
                } else {
                    (quote!(blocking), self.future(quote!(move || #work)))
                }
            }
            Form::Inline => {
                let (result, clones) = (self.in_place(), self.clones(again));
                (if again { quote!(inline_again) } else { quote!(inline) }, quote!(|| { #clones #result }))
            }
            Form::Stream => (quote!(stream), self.source(&quote!(forward_stream))),
            Form::Iterator => (quote!(iterator), self.source(&quote!(forward_iterator))),
        };
        let call = self.returning(quote!(#private::#function), quote!(&__META, __arguments, __caller, #effect));
        if self.checked.form == Form::Inline {
            let (value, error) = (self.value(), self.error());
            return quote! {
                let __result: ::core::result::Result<#value, #error> = #call;
                __result
            };
        }
        quote!(#owned #call)
    }

    /// Takes over what the caller lends or gives.
    fn owned(&self) -> TokenStream {
        let borrowed = |argument: &&Argument| argument.referent.is_some() || argument.receiver.is_some();
        let owned = self.checked.arguments.iter().filter(borrowed).map(|argument| {
            let (inner, value) = (argument.inner(), self.owned_value(argument));
            quote!(let #inner = #value;)
        });
        quote!(#(#owned)*)
    }

    /// For an effect that is repeated: what one try consumes. What runs in place consumes no borrowed argument.
    fn clones(&self, again: bool) -> TokenStream {
        if !again {
            return if self.checked.form == Form::Inline { self.renamed() } else { TokenStream::new() };
        }
        let in_place = self.checked.form == Form::Inline;
        let lent = |argument: &&Argument| in_place && argument.referent.is_some() && argument.receiver.is_none();
        let clones = self.checked.arguments.iter().filter(|argument| !lent(argument)).map(|argument| {
            let (inner, place) = (argument.inner(), Place::of(&argument.ty));
            let kept = if in_place { &argument.ident } else { &inner };
            let value = match &argument.referent {
                Some(_) if in_place => quote!(#kept),
                Some(referent) => {
                    let private = &self.private;
                    let lent = quote!(::core::borrow::Borrow::<#referent>::borrow(&#kept));
                    place.call(quote!(#private::own::<#referent>), lent)
                }
                None => place.call(quote!(::core::clone::Clone::clone), place.borrow(kept)),
            };
            quote!(let #inner = #value;)
        });
        quote!(#(#clones)*)
    }

    fn renamed(&self) -> TokenStream {
        let receiver = self.checked.arguments.iter().filter(|argument| argument.receiver.is_some()).map(|argument| {
            let (ident, inner) = (&argument.ident, argument.inner());
            quote!(let #inner = #ident;)
        });
        quote!(#(#receiver)*)
    }

    /// Lends owned arguments to a body that takes them by reference.
    fn lent(&self) -> TokenStream {
        let lent = self.checked.arguments.iter().filter_map(|argument| {
            let (inner, referent) = (argument.inner(), argument.referent.as_ref()?);
            Some(quote!(let #inner: &#referent = ::core::borrow::Borrow::borrow(&#inner);))
        });
        quote!(#(#lent)*)
    }

    /// Calls the body on owned arguments. An error becomes its record here, where its type is still known.
    pub(super) fn result(&self) -> TokenStream {
        let (lent, result) = (self.lent(), self.in_place());
        quote!(#lent #result)
    }

    /// Calls the body on what it takes.
    fn in_place(&self) -> TokenStream {
        let (private, call) = (&self.private, self.body_call());
        let dot_await = (self.checked.form == Form::Async).then(|| quote!(.await));
        let map_err = Place::of(&self.checked.result).mark(quote!(map_err));
        quote! {
            let __result = #call #dot_await;
            __result.#map_err(|__error| #private::record_error!(__error))
        }
    }

    /// The effect of a stream or an iterator: it hands on each item, from where it is told to.
    fn source(&self, forward: &TokenStream) -> TokenStream {
        let (private, call, error, lent) = (&self.private, self.body_call(), self.error(), self.lent());
        let resume = self.source.settings.trace.resume.as_ref();
        let resumed = resume.and_then(|name| {
            let named = |argument: &&Argument| argument.ident.unraw() == name.value();
            self.checked.arguments.iter().find(named)
        });
        let from = resumed.map(|Argument { ident, ty, .. }| {
            let value = Place::of(ty).call(quote!(#private::resumed_at), quote!(#ident, __from));
            quote!(let #ident = #value;)
        });
        let unused = if resumed.is_some() { quote!(__from) } else { quote!(_) };
        let place = Place::of(&self.checked.result);
        let record = quote!(|__error: &#error| #private::record_error!(*__error));
        let forwarded = place.call(quote!(#private::#forward), quote!(#call, __sink, #record));
        let span = self.source.function.sig.ident.span();
        let dot_await = quote_spanned!(span=> .await);
        let future = self.future(quote!(async move { #from #lent #forwarded #dot_await }));
        // The parameters are not marked: a name is looked up where it stands.
        let start = self.future(quote!(move));
        quote!(#start |#unused, __sink| #future)
    }
}
