//! Checks that a function can be run from its log, and says what to change if not.
//!
//! The engine calls the body long after the caller has gone, from owned values, perhaps in another process. So every
//! argument has a name and an owner, and nothing borrowed comes back. What the compiler says well by itself (a missing
//! `Serialize`, an argument that is not `Send`) is left to it.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{FnArg, GenericParam, ItemFn, Pat, PatIdent, ReturnType, Safety, Type, parse_quote};

use crate::Errors;
use crate::parse::{Kind, Source};

/// What `expand` needs to know about a function that is in order.
pub(crate) struct Checked {
    /// The name on record.
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) returns: Type,
}

pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// The `T` of an argument `&T`, which the effect owns as `<T as ToOwned>::Owned`.
    pub(crate) referent: Option<Type>,
    /// Left out of key and record.
    pub(crate) skipped: bool,
}

impl Checked {
    /// Adds every complaint to `errors`; if there is none, the function is in order.
    pub(crate) fn check(source: &Source, errors: &mut Errors) -> Self {
        let (kind, function) = (source.kind, &source.function);
        check_form(kind, function, errors);
        check_generics(kind, function, errors);
        let arguments = function.sig.inputs.iter().filter_map(|input| argument(source, input, errors)).collect();
        check_skipped(source, errors);
        let returns = returned(kind, function, errors);
        let name = source.settings.name.clone().unwrap_or_else(|| function.sig.ident.unraw().to_string());
        Checked { name, arguments, returns }
    }
}

/// The words before `fn`.
fn check_form(kind: Kind, function: &ItemFn, errors: &mut Errors) {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let done = if kind == Kind::Task { "is a task" } else { "is traced" };
        errors.push(signature.fn_token, format!("only an `async fn` {done} in this version of relive"));
    }
    if let Some(word) = &signature.constness {
        errors.push(word, format!("a {kind} function cannot be `const`: it runs when the engine says so"));
    }
    if let Safety::Unsafe(word) = &signature.safety {
        errors.push(
            word,
            format!("a {kind} function cannot be `unsafe`: its caller is the engine, which can promise nothing"),
        );
    }
    if let Some(abi) = &signature.abi {
        errors.push(abi, format!("a {kind} function cannot be `extern`: its caller is the engine"));
    }
    if let Some(variadic) = &signature.variadic {
        errors
            .push(variadic, format!("a {kind} function cannot be variadic: each argument is recorded under its name"));
    }
}

fn check_generics(kind: Kind, function: &ItemFn, errors: &mut Errors) {
    for parameter in &function.sig.generics.params {
        if kind == Kind::Task && !matches!(parameter, GenericParam::Lifetime(_)) {
            errors.push(
                parameter,
                "a task takes no type parameters: its log, which the engine runs it from, holds values, not types",
            );
        }
    }
}

fn argument(source: &Source, input: &FnArg, errors: &mut Errors) -> Option<Argument> {
    let kind = source.kind;
    let input = match input {
        FnArg::Typed(input) => input,
        FnArg::Receiver(receiver) => {
            errors.push(
                receiver,
                if kind == Kind::Task {
                    "a task takes no `self`: the engine runs it from its log alone. Make it a function"
                } else {
                    "methods are not traced in this version of relive. Make it a function that takes what it needs"
                },
            );
            return None;
        }
    };
    for attribute in &input.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            errors.push(
                attribute,
                format!("a {kind} function takes the same arguments in every build: another build reads its log"),
            );
        }
    }
    let ty = ungrouped(&input.ty);
    let referent = match ty {
        Type::Reference(reference) if reference.mutability.is_some() => {
            errors
                .push(ty, "a body owns its arguments, so it cannot take `&mut`: take the value and return the new one");
            None
        }
        Type::Reference(reference) => {
            let forever = reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static");
            if forever && kind == Kind::Task {
                errors.push(ty, "a task's arguments are read back from its log, so none is `'static`: leave it out");
            }
            check_type(kind, &reference.elem, errors);
            (!forever).then(|| reference.elem.as_ref().clone())
        }
        _ => {
            check_type(kind, ty, errors);
            None
        }
    };
    let Pat::Ident(PatIdent { by_ref: None, subpat: None, ident, .. }) = input.pat.as_ref() else {
        errors.push(&input.pat, "give this argument a name, which it is recorded under; take it apart in the body");
        return None;
    };
    let skipped = source.settings.skip.contains(ident);
    Some(Argument { ident: ident.clone(), ty: ty.clone(), referent, skipped })
}

/// The type of an argument, below its outermost `&`.
fn check_type(kind: Kind, ty: &Type, errors: &mut Errors) {
    let found = Found::within(ty);
    for borrow in found.borrows {
        errors.push(
            borrow,
            "only the outermost `&` of an argument can be owned for you: take an owned type here, as `String` for `&str`",
        );
    }
    for unnamed in found.unnamed {
        errors.push(
            unnamed,
            match kind {
                Kind::Task => {
                    "a task takes no `impl Trait`: its log, which the engine runs it from, holds values, not types"
                }
                Kind::Trace => "give this type a name: `fn f<T: Trait>(argument: T)` for `impl Trait`",
            },
        );
    }
}

fn check_skipped(source: &Source, errors: &mut Errors) {
    let signature = &source.function.sig;
    for (index, skip) in source.settings.skip.iter().enumerate() {
        let is_skipped = |input: &FnArg| match input {
            FnArg::Typed(input) => matches!(input.pat.as_ref(), Pat::Ident(name) if name.ident == *skip),
            FnArg::Receiver(_) => false,
        };
        if !signature.inputs.iter().any(is_skipped) {
            errors.push(skip, format!("`{}` has no argument `{skip}`", signature.ident));
        } else if source.settings.skip[..index].contains(skip) {
            errors.push(skip, format!("`{skip}` is skipped twice"));
        }
    }
}

fn returned(kind: Kind, function: &ItemFn, errors: &mut Errors) -> Type {
    let ReturnType::Type(_, ty) = &function.sig.output else {
        let message = format!(
            "a {kind} function returns `Result<T, E>`, since the engine may have to report an error of its own"
        );
        errors.push(&function.sig.ident, message);
        return parse_quote!(());
    };
    let found = Found::within(ty);
    for borrow in found.borrows {
        errors.push(borrow, "a result is recorded and read back, so it cannot borrow: return an owned type");
    }
    for unnamed in found.unnamed {
        errors.push(unnamed, "a result is recorded and read back, so its type needs a name, not `impl Trait`");
    }
    ungrouped(ty).clone()
}

/// The type without the parentheses, or the invisible ones that another macro left, around it.
fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        other => other,
    }
}

/// What a type must not hold, where it stands.
#[derive(Default)]
struct Found {
    /// References and lifetimes, other than `'static`.
    borrows: Vec<TokenStream>,
    /// `impl Trait`.
    unnamed: Vec<TokenStream>,
}

impl Found {
    fn within(ty: &Type) -> Self {
        let mut found = Found::default();
        found.visit_type(ty);
        found
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
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

#[cfg(test)]
mod tests {
    use super::Kind::{Task, Trace};
    use crate::testing::{expansion, messages};

    #[test]
    fn every_bad_argument_is_reported_at_once() {
        let function = "async fn f(&self, _: u32, (a, b): (u32, u32), ref c: u32, d: &mut u32, e: Vec<&str>,
            g: Cow<'_, str>, h: impl Serialize, i: &[&str], #[cfg(unix)] j: u32) -> Result<(), E> {}";
        let messages = messages(Trace, "skip(d, z, d)", function);
        let starts = [
            "methods are not traced in this version",
            "give this argument a name",
            "give this argument a name",
            "give this argument a name",
            "a body owns its arguments, so it cannot take `&mut`",
            "only the outermost `&`",
            "only the outermost `&`",
            "give this type a name",
            "only the outermost `&`",
            "a #[trace] function takes the same arguments in every build",
            "`f` has no argument `z`",
            "`d` is skipped twice",
        ];
        assert_eq!(messages.len(), starts.len(), "{messages:#?}");
        for (message, start) in messages.iter().zip(starts) {
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn a_task_takes_nothing_that_its_log_cannot_hold() {
        let function =
            "async fn f<'a, T, const N: usize>(self, a: &'a str, b: impl Trait, c: &'static str) -> Result<(), E> {}";
        let messages = messages(Task, "", function);
        assert_eq!(messages.iter().filter(|message| message.contains("holds values, not types")).count(), 3);
        assert!(messages.iter().any(|message| message.starts_with("a task takes no `self`")));
        assert!(messages.iter().any(|message| message.contains("none is `'static`")));
        assert_eq!(messages.len(), 5, "{messages:#?}");
    }

    #[test]
    fn every_word_before_fn_has_its_own_complaint() {
        let messages = messages(Trace, "", "const unsafe extern \"C\" fn f(x: u32, ...) {}");
        for part in ["only an `async fn`", "`const`", "`unsafe`", "`extern`", "variadic", "Result<T, E>"] {
            assert!(messages.iter().any(|message| message.contains(part)), "{part}: {messages:#?}");
        }
        assert_eq!(messages.len(), 6);
    }

    #[test]
    fn a_result_is_owned_and_named() {
        let borrowed = messages(Trace, "", "async fn f(a: &str) -> Result<&str, E> {}");
        assert_eq!(borrowed, ["a result is recorded and read back, so it cannot borrow: return an owned type"]);
        let unnamed = messages(Task, "", "async fn f() -> Result<impl Trait, E> {}");
        assert_eq!(unnamed, ["a result is recorded and read back, so its type needs a name, not `impl Trait`"]);
        assert!(messages(Task, "", "async fn f() {}")[0].starts_with("a #[task] function returns `Result<T, E>`"));
    }

    #[test]
    fn lifetimes_of_later_calls_are_no_borrows() {
        let function = "async fn f(a: fn(&str) -> &str, b: Box<dyn Fn(&str)>, c: Box<dyn for<'a> T<'a>>,
            d: &'static str) -> Result<(), E> {}";
        assert!(!expansion(Trace, "skip(a, b, c)", function).contains("own (d)"));
    }
}
