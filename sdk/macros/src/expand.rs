//! Expands a function that is in order into the code that replaces it.
//!
//! The body stays a function of its own, as it was written, so that borrows, `?` and lints work as they read. Around it
//! stands a function that owns the arguments, and a static that describes the body to the engine.
//!
//! Invariant: every name of ours that a body could see begins with two underscores. The function's own name means the
//! new function also in its body: a task that calls itself starts a child run.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::GenericParam;
use syn::ext::IdentExt;

use crate::check::{Argument, Checked};
use crate::parse::Source;
use crate::place::Place;
use crate::select;

/// The function that replaces a traced one.
pub(crate) fn trace(source: &Source, checked: &Checked) -> TokenStream {
    let parts = Parts { source, checked, private: private(source) };
    let private = &parts.private;
    let outer = parts.outer("Trace");
    let body = parts.body(&source.function.block.to_token_stream());
    let meta = parts.meta();
    let outside_call = source.settings.outside_call;
    let recorded = checked.arguments.iter().filter(|argument| !argument.skipped).rev();
    let recorded = recorded.fold(quote!(()), |rest, argument| {
        let (name, place) = (argument.name(), Place::of(&argument.ty));
        let value = place.call(quote!(#private::recordable), place.borrow(&argument.ident));
        quote!(((#name, &#value), #rest))
    });
    let owned = checked.arguments.iter().filter(|argument| argument.referent.is_some()).map(|argument| {
        let (ident, owned) = (&argument.ident, parts.owned_value(argument));
        quote!(let #ident = #owned;)
    });
    let call = parts.call();
    let effect = parts.future(quote!(move || async move { #call }));
    let trace = parts.returning(quote!(#private::trace), quote!(&__META, __arguments, __caller, #effect));
    quote! {
        #outer {
            #body
            static __META: #private::TraceMeta = #private::TraceMeta { #meta outside_call: #outside_call, policy: #private::TracePolicy::DEFAULT };
            #private::inventory::submit! { #private::TraceEntry(&__META) }
            let __arguments = #private::Arguments::of(&__META, &#recorded);
            let __caller = ::core::panic::Location::caller();
            #(#owned)*
            #trace
        }
    }
}

/// The function that replaces a task.
pub(crate) fn task(source: &Source, checked: &Checked) -> TokenStream {
    let parts = Parts { source, checked, private: private(source) };
    let private = &parts.private;
    let outer = parts.outer("Call");
    let (body, unbiased) = select::biased(source.function.block.to_token_stream());
    let (body, warnings) = (parts.body(&body), unbiased.into_iter().map(unbiased_warning));
    let meta = parts.meta();
    let cache = format_ident!("{}", if source.settings.cache_off { "Off" } else { "Auto" });
    let serde_path = quote!(#private::serde).to_string();
    let names: Vec<_> = checked.arguments.iter().map(|argument| &argument.ident).collect();
    let types = checked.arguments.iter().map(Argument::owned_type);
    let values = checked.arguments.iter().map(|argument| parts.owned_value(argument));
    let call = parts.call();
    let run = parts.future(quote!(async move { let __Input { #(#names),* } = __input; #call }));
    let run = parts.returning(quote!(#private::task_body), quote!(__payload, |__input: __Input| #run));
    let call = parts.returning(quote!(#private::call), quote!(&__META, &__Input { #(#names: #values),* }));
    quote! {
        #outer {
            #body
            #(#warnings)*
            #[derive(#private::serde::Serialize, #private::serde::Deserialize)]
            #[serde(crate = #serde_path)]
            struct __Input { #(#names: #types),* }
            static __META: #private::TaskMeta = #private::TaskMeta {
                #meta
                cache: #private::CachePolicy { mode: #private::CacheMode::#cache, ..#private::CachePolicy::DEFAULT },
                policy: #private::TaskPolicy::DEFAULT,
                canonical: |__payload, __without| #private::canonical_input::<__Input>(__payload, __without),
                body: |__payload| #run,
            };
            #private::inventory::submit! { #private::TaskEntry(&__META) }
            #call
        }
    }
}

/// The path of what only expansions use.
fn private(source: &Source) -> TokenStream {
    let root = &source.settings.root;
    quote!(#root::__private)
}

/// What both expansions are made of.
struct Parts<'a> {
    source: &'a Source,
    checked: &'a Checked,
    private: TokenStream,
}

impl Parts<'_> {
    /// A call whose type parameters are the result's.
    fn returning(&self, function: TokenStream, arguments: TokenStream) -> TokenStream {
        Place::of(&self.checked.returns).call(function, arguments)
    }

    /// An `async` block. That it is not `Send` is said at the function's name.
    fn future(&self, block: TokenStream) -> TokenStream {
        Place::of(&self.source.function.sig.ident).mark(block)
    }

    /// The two types that a result is made of.
    fn value_and_error(&self) -> TokenStream {
        let (private, result) = (&self.private, &self.checked.returns);
        let place = Place::of(result);
        let value = place.mark(quote!(<#result as #private::ReturnsResult>::Value));
        let error = place.mark(quote!(<#result as #private::ReturnsResult>::Error));
        quote!(#value, #error)
    }

    /// The new function up to its body: the old one's attributes, visibility, name, generics and arguments.
    fn outer(&self, returned: &str) -> TokenStream {
        let (function, signature) = (&self.source.function, &self.source.function.sig);
        let (attributes, visibility, ident) = (&function.attrs, &function.vis, &signature.ident);
        let (generics, conditions) = (&signature.generics, &signature.generics.where_clause);
        let arguments = self.checked.arguments.iter().map(|Argument { ident, ty, .. }| quote!(#ident: #ty));
        let (root, returned, parts) = (&self.source.settings.root, format_ident!("{returned}"), self.value_and_error());
        quote! {
            #(#attributes)*
            #[track_caller]
            #visibility fn #ident #generics (#(#arguments),*) -> #root::#returned<#parts> #conditions
        }
    }

    /// The old function under a name that only the expansion calls.
    fn body(&self, block: &TokenStream) -> TokenStream {
        let mut signature = self.source.function.sig.clone();
        signature.ident = Ident::new("__body", signature.ident.span());
        quote! {
            // What clippy has to say of the signature it says of the new function.
            #[allow(clippy::too_many_arguments, clippy::type_complexity, clippy::unused_async)]
            #signature #block
        }
    }

    /// Calls the body on owned arguments. An error becomes its record here, where its type is still known.
    fn call(&self) -> TokenStream {
        let private = &self.private;
        let lent = self.checked.arguments.iter().filter_map(|Argument { ident, referent, .. }| {
            let referent = referent.as_ref()?;
            Some(quote!(let #ident: &#referent = ::core::borrow::Borrow::borrow(&#ident);))
        });
        let parameters = self.source.function.sig.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            GenericParam::Const(parameter) => Some(&parameter.ident),
            GenericParam::Lifetime(_) => None,
        });
        let names = self.checked.arguments.iter().map(|argument| &argument.ident);
        let map_err = Place::of(&self.checked.returns).mark(quote!(map_err));
        quote! {
            #(#lent)*
            let __result = __body::<#(#parameters),*>(#(#names),*).await;
            __result.#map_err(|__error| #private::record_error!(__error))
        }
    }

    /// The fields that both statics have.
    fn meta(&self) -> TokenStream {
        let (private, name) = (&self.private, &self.checked.name);
        let code = self.source.code.map(Literal::u8_unsuffixed);
        // At the function, not at the attribute, which may stand lines above it.
        let span = self.source.function.sig.ident.span();
        let place =
            quote_spanned!(span=> file: ::core::file!(), line: ::core::line!(), module: ::core::module_path!(),);
        quote!(name: #name, code: #private::CodeHash::from_bytes([#(#code),*]), #place)
    }

    fn owned_value(&self, argument: &Argument) -> TokenStream {
        let (private, ident) = (&self.private, argument.ident.to_token_stream());
        if argument.referent.is_none() {
            return ident;
        }
        Place::of(&argument.ty).call(quote!(#private::own), ident)
    }
}

impl Argument {
    /// The name on record: `type` for `r#type`.
    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    fn owned_type(&self) -> TokenStream {
        match &self.referent {
            Some(referent) => quote!(<#referent as ::std::borrow::ToOwned>::Owned),
            None => self.ty.to_token_stream(),
        }
    }
}

/// A warning at the user's `select!`. To use what is deprecated is the one warning that a macro can cause.
fn unbiased_warning(at: Span) -> TokenStream {
    let used = quote_spanned!(at=> unbiased_select());
    quote! {
        const _: () = {
            #[deprecated(note = "it polls first a branch that it picks at random, which a replay cannot repeat: write \
                                 `relive::select!`, or `tokio::select!` by that path and with `biased;`")]
            const fn unbiased_select() {}
            #used
        };
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::Kind::{Task, Trace};
    use crate::testing::{dense, expansion};

    #[test]
    fn a_trace_owns_its_arguments_and_lends_them_to_the_body() {
        let function = "pub async fn f<G: Serialize>(text: &str, mut n: G, client: Client) -> Result<S, E> {}";
        let trace = expansion(Trace, "skip(client)", function);
        for part in [
            "#[track_caller] pub fn f<G: Serialize>(text: &str, n: G, client: Client) -> ::relive::Trace",
            "async fn __body<G: Serialize>(text: &str, mut n: G, client: Client) -> Result<S, E> {}",
            r#"(("text", &::relive::__private::recordable(&text)), (("n", &::relive::__private::recordable(&n)), ()))"#,
            "let text = ::relive::__private::own(text);",
            "let text: &str = ::core::borrow::Borrow::borrow(&text);",
            "let __result = __body::<G>(text, n, client).await;",
        ] {
            assert!(dense(&trace).contains(&dense(part)), "{part}\n{trace}");
        }
    }

    #[test]
    fn a_task_keeps_its_arguments_in_one_struct() {
        let task = expansion(Task, "", "async fn f(text: &str, n: u32) -> Result<S, E> {}");
        for part in [
            "struct __Input { text: <str as ::std::borrow::ToOwned>::Owned, n: u32 }",
            "let __Input { text, n } = __input;",
            "::relive::__private::call(&__META, &__Input { text: ::relive::__private::own(text), n: n })",
        ] {
            assert!(dense(&task).contains(&dense(part)), "{part}\n{task}");
        }
    }

    #[test]
    fn only_a_task_is_warned_about_a_select() {
        let function = "async fn f() -> Result<S, E> { select! { a = b => c } }";
        assert!(expansion(Task, "", function).contains("unbiased_select"));
        assert!(!expansion(Trace, "", function).contains("unbiased_select"));
    }
}
