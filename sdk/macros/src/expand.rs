//! Expands a function that is in order into the code that replaces it.
//!
//! The body stays a function of its own, as it was written, so that borrows, `?` and lints work as they read. Around it
//! stands a function that owns the arguments, and a static that describes the body to the engine. The body of a method
//! stands beside it, as a function inside a method cannot name `Self`.
//!
//! Invariant: every name of ours that a body could see begins with two underscores. The function's own name means the
//! new function also in its body: a task that calls itself starts a child run.

mod effect;
mod policy;
mod typed_error;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, GenericParam};

pub(crate) use self::typed_error::typed_error;
use crate::check::{Argument, Checked};
use crate::form::Form;
use crate::hash;
use crate::lint;
use crate::parse::{Kind, Source};
use crate::place::Place;
use crate::select;

/// The function that replaces a traced one, and the body of a method.
pub(crate) fn trace(source: &Source, checked: &Checked) -> TokenStream {
    let parts = Parts::of(source, checked);
    let private = &parts.private;
    let outer = parts.outer();
    let body = parts.body(&source.function.block.to_token_stream());
    let (inside, beside) = if checked.is_method() { (None, Some(body)) } else { (Some(body), None) };
    let (meta, policy) = (parts.meta(), policy::of_trace(source, checked.form, private));
    let outside_call = source.settings.trace.outside_call;
    let arguments = parts.recorded();
    let tested = parts.tested();
    let effect = parts.effect();
    quote! {
        #outer {
            #inside
            #[allow(clippy::needless_update, unexpected_cfgs)]
            static __META: #private::TraceMeta =
                #private::TraceMeta { #meta outside_call: #outside_call, policy: #policy };
            #private::inventory::submit! { #private::TraceEntry(&__META) }
            #tested
            let __arguments = #arguments;
            let __caller = ::core::panic::Location::caller();
            #effect
        }
        #beside
    }
}

/// The function that replaces a task.
pub(crate) fn task(source: &Source, checked: &Checked) -> TokenStream {
    let parts = Parts::of(source, checked);
    let private = &parts.private;
    let outer = parts.outer();
    let (body, unbiased) = select::biased(source.function.block.to_token_stream());
    let (body, warnings) = (parts.body(&body), lint::warnings(&lint::find(source, unbiased), private));
    let meta = parts.meta();
    let (cache, policy) = (policy::of_cache(source, private), policy::of_task(source, private));
    let serde_path = quote!(#private::serde).to_string();
    let names: Vec<_> = checked.arguments.iter().map(|argument| &argument.ident).collect();
    let types = checked.arguments.iter().map(Argument::owned_type);
    let values = checked.arguments.iter().map(|argument| parts.owned_value(argument));
    let call = parts.result();
    let run = parts.future(quote!(async move { let __Input { #(#names),* } = __input; #call }));
    let run = parts.returning(quote!(#private::task_body), quote!(__payload, |__input: __Input| #run));
    let call = parts.returning(quote!(#private::call), quote!(&__META, &__Input { #(#names: #values),* }));
    quote! {
        #outer {
            #body
            #warnings
            #[derive(#private::serde::Serialize, #private::serde::Deserialize)]
            #[serde(crate = #serde_path)]
            struct __Input { #(#names: #types),* }
            #[allow(clippy::needless_update, unexpected_cfgs)]
            static __META: #private::TaskMeta = #private::TaskMeta {
                #meta
                cache: #cache,
                policy: #policy,
                canonical: |__payload, __without| #private::canonical_input::<__Input>(__payload, __without),
                body: |__payload| #run,
            };
            #private::inventory::submit! { #private::TaskEntry(&__META) }
            #call
        }
    }
}

/// What both expansions are made of.
struct Parts<'a> {
    source: &'a Source,
    checked: &'a Checked,
    /// The path of what only expansions use.
    private: TokenStream,
}

impl<'a> Parts<'a> {
    fn of(source: &'a Source, checked: &'a Checked) -> Self {
        let root = &source.settings.root;
        Parts { source, checked, private: quote!(#root::__private) }
    }

    /// A call whose type parameters are the result's.
    fn returning(&self, function: TokenStream, arguments: TokenStream) -> TokenStream {
        Place::of(&self.checked.result).call(function, arguments)
    }

    /// An `async` block. That it is not `Send` is said at the function's name.
    fn future(&self, block: TokenStream) -> TokenStream {
        Place::of(&self.source.function.sig.ident).mark(block)
    }

    fn value(&self) -> TokenStream {
        let (private, result) = (&self.private, &self.checked.result);
        Place::of(result).mark(quote!(<#result as #private::ReturnsResult>::Value))
    }

    fn error(&self) -> TokenStream {
        let (private, result) = (&self.private, &self.checked.result);
        Place::of(result).mark(quote!(<#result as #private::ReturnsResult>::Error))
    }

    /// The new function up to its body: the old one's attributes, visibility, name, generics and arguments.
    fn outer(&self) -> TokenStream {
        let (function, signature) = (&self.source.function, &self.source.function.sig);
        let (visibility, ident) = (&function.vis, &signature.ident);
        let (generics, conditions) = (&signature.generics, &signature.generics.where_clause);
        let arguments = self.checked.arguments.iter().map(|Argument { ident, ty, receiver, .. }| match receiver {
            Some(receiver) => receiver.to_token_stream(),
            None => quote!(#ident: #ty),
        });
        let attributes: Vec<_> = if self.checked.is_method() {
            function.attrs.iter().map(allowed).collect()
        } else {
            function.attrs.clone()
        };
        let returned = self.returned();
        quote! {
            #(#attributes)*
            #[track_caller]
            #visibility fn #ident #generics (#(#arguments),*) -> #returned #conditions
        }
    }

    /// What the new function returns.
    fn returned(&self) -> TokenStream {
        let name = match (self.source.kind, self.checked.form) {
            (_, Form::Inline) => return self.checked.result.to_token_stream(),
            (Kind::Task, _) => "Call",
            (_, Form::Async | Form::Blocking) => "Trace",
            (_, Form::Stream) => "TraceStream",
            (_, Form::Iterator) => "TraceIterator",
        };
        let (root, name, value, error) =
            (&self.source.settings.root, format_ident!("{name}"), self.value(), self.error());
        quote!(#root::#name<#value, #error>)
    }

    /// The old function under a name that only the expansion calls.
    fn body(&self, block: &TokenStream) -> TokenStream {
        let mut signature = self.source.function.sig.clone();
        signature.ident = self.body_ident();
        let beside = self.checked.is_method().then(|| {
            // Beside the new method, so the old one's lints and conditions do not reach it by themselves.
            let kept = ["allow", "expect", "warn", "deny", "forbid", "cfg", "cfg_attr"];
            let attributes = self.source.function.attrs.iter();
            let kept = attributes.filter(|attribute| kept.iter().any(|name| attribute.path().is_ident(name)));
            let kept = kept.map(allowed);
            quote!(#(#kept)* #[doc(hidden)])
        });
        quote! {
            #beside
            // What clippy has to say of the signature it says of the new function; and what that one must be, this one is.
            #[allow(
                clippy::too_many_arguments,
                clippy::type_complexity,
                clippy::unused_async,
                clippy::unnecessary_wraps,
                clippy::missing_const_for_fn
            )]
            #signature #block
        }
    }

    /// What the test kit asks of a trace, in a macro that is empty without it.
    fn tested(&self) -> TokenStream {
        let (private, name) = (&self.private, &self.checked.name);
        let signature = &self.source.function.sig;
        let function = signature.ident.unraw().to_string();
        let is_generic =
            signature.generics.params.iter().any(|parameter| !matches!(parameter, GenericParam::Lifetime(_)));
        // What stands in a static can name neither the function's own types nor `Self`.
        let error = (!is_generic && !self.checked.is_method()).then(|| self.error());
        quote!(#private::tested! { #name, #function, #error })
    }

    fn body_ident(&self) -> Ident {
        let ident = &self.source.function.sig.ident;
        if self.checked.is_method() {
            return Ident::new(&format!("__relive_{}", ident.unraw()), ident.span());
        }
        Ident::new("__body", ident.span())
    }

    /// Calls the body, with what its arguments are named inside an effect.
    fn body_call(&self) -> TokenStream {
        let parameters = self.source.function.sig.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            GenericParam::Const(parameter) => Some(&parameter.ident),
            GenericParam::Lifetime(_) => None,
        });
        let owner = self.checked.is_method().then(|| quote!(Self::));
        let (ident, names) = (self.body_ident(), self.checked.arguments.iter().map(Argument::inner));
        quote!(#owner #ident::<#(#parameters),*>(#(#names),*))
    }

    /// The fields that both statics have.
    fn meta(&self) -> TokenStream {
        let (name, code) = (&self.checked.name, self.code());
        // At the function, not at the attribute, which may stand lines above it.
        let span = self.source.function.sig.ident.span();
        let place =
            quote_spanned!(span=> file: ::core::file!(), line: ::core::line!(), module: ::core::module_path!(),);
        quote!(name: #name, code: #code, #place)
    }

    /// Which code this is: known here, but for what the build decides.
    fn code(&self) -> TokenStream {
        let (private, code) = (&self.private, self.source.code);
        let bytes = |bytes: [u8; 16]| {
            let bytes = bytes.map(Literal::u8_unsuffixed);
            quote!([#(#bytes),*])
        };
        let whole = bytes(code);
        let whole = quote!(#private::CodeHash::from_bytes(#whole));
        if self.source.predicates.is_empty() {
            return whole;
        }
        let mixed = self.source.predicates.iter().enumerate().map(|(index, predicate)| {
            let [holds, not] = hash::in_build(code, index).map(bytes);
            quote!(if ::core::cfg!(#predicate) { #holds } else { #not })
        });
        quote!(#whole.mixed(&[#(#mixed),*]))
    }

    /// The arguments of a trace as they are recorded, and what its identity is if not they.
    fn recorded(&self) -> TokenStream {
        let private = &self.private;
        let recorded = self.checked.arguments.iter().filter(|argument| !argument.skipped).rev();
        let recorded = recorded.fold(quote!(()), |rest, argument| {
            let (name, place) = (argument.name(), Place::of(&argument.ty));
            let value = place.call(quote!(#private::recordable), place.borrow(&argument.ident));
            quote!(((#name, &#value), #rest))
        });
        let arguments = quote!(#private::Arguments::of(&__META, &#recorded));
        match &self.source.settings.trace.key {
            Some(key) => Place::of(key).call(quote!(#private::keyed), quote!(#arguments, &#key)),
            None => arguments,
        }
    }

    /// What owns an argument, made from what the new function takes.
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

    /// The name inside an effect, where nothing can be called `self`.
    fn inner(&self) -> Ident {
        if self.receiver.is_some() { Ident::new("__self", self.ident.span()) } else { self.ident.clone() }
    }

    fn owned_type(&self) -> TokenStream {
        match &self.referent {
            Some(referent) => quote!(<#referent as ::std::borrow::ToOwned>::Owned),
            None => self.ty.to_token_stream(),
        }
    }
}

/// `allow` for `expect`: of the two methods that a traced one becomes, only one does what is expected.
fn allowed(attribute: &Attribute) -> Attribute {
    let mut attribute = attribute.clone();
    if attribute.path().is_ident("expect")
        && let syn::Meta::List(list) = &mut attribute.meta
    {
        let span = list.path.segments[0].ident.span();
        list.path.segments[0].ident = Ident::new("allow", span);
    }
    attribute
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
}
