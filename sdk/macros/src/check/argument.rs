//! Checks one argument: it has a name to be recorded under, and an owner.

use proc_macro2::Ident;
use syn::{FnArg, Pat, PatIdent, PatType, Receiver, ReceiverKind, Type, parse_quote_spanned};

use super::found::Found;
use crate::errors::Errors;
use crate::form::{Form, ungrouped};
use crate::parse::{Kind, Source};

/// An argument that is in order.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// The `T` of an argument `&T`, which an effect owns as `<T as ToOwned>::Owned`.
    pub(crate) referent: Option<Type>,
    /// Left out of key and record.
    pub(crate) skipped: bool,
    /// The receiver as the new function takes it: without `mut`.
    pub(crate) receiver: Option<Receiver>,
}

const MUTABLE: &str = "a replay does not run the body, so what it did through `&mut` would be missing: take the value and \
                       return the new one";

impl Argument {
    pub(super) fn check(source: &Source, form: Form, input: &FnArg, errors: &mut Errors) -> Option<Self> {
        let attributes = match input {
            FnArg::Typed(input) => &input.attrs,
            FnArg::Receiver(receiver) => &receiver.attrs,
        };
        for attribute in attributes {
            if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
                let message = format!(
                    "a {} function takes the same arguments in every build: another build reads its log",
                    source.kind
                );
                errors.push(attribute, message);
            }
        }
        match input {
            FnArg::Typed(input) => Self::typed(source, form, input, errors),
            FnArg::Receiver(receiver) => Self::receiver(source.kind, form, receiver, errors),
        }
    }

    fn typed(source: &Source, form: Form, input: &PatType, errors: &mut Errors) -> Option<Self> {
        let ty = ungrouped(&input.ty);
        let referent = match ty {
            Type::Reference(reference) if reference.mutability.is_some() => {
                errors.push(ty, MUTABLE);
                None
            }
            Type::Reference(reference) => {
                let forever = reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static");
                if forever && source.kind == Kind::Task {
                    errors
                        .push(ty, "a task's arguments are read back from its log, so none is `'static`: leave it out");
                }
                check_type(source.kind, form, &reference.elem, errors);
                (!forever).then(|| reference.elem.as_ref().clone())
            }
            _ => {
                check_type(source.kind, form, ty, errors);
                None
            }
        };
        let Pat::Ident(PatIdent { by_ref: None, subpat: None, ident, .. }) = input.pat.as_ref() else {
            errors.push(&input.pat, "give this argument a name, which it is recorded under; take it apart in the body");
            return None;
        };
        let skipped = source.settings.trace.skip.contains(ident);
        Some(Argument { ident: ident.clone(), ty: ty.clone(), referent, skipped, receiver: None })
    }

    /// `self` is what an effect is done with, as a client is: neither in the key nor in the record.
    fn receiver(kind: Kind, form: Form, receiver: &Receiver, errors: &mut Errors) -> Option<Self> {
        if kind == Kind::Task {
            errors.push(receiver, "a task takes no `self`: the engine runs it from its log alone. Make it a function");
            return None;
        }
        let ident = Ident::from(receiver.self_token);
        let mut kept = receiver.clone();
        kept.mutability = None;
        let (ty, referent): (Type, _) = match &receiver.kind {
            ReceiverKind::Value => (parse_quote_spanned!(ident.span()=> Self), None),
            ReceiverKind::Reference(and, lifetime, None) => {
                let referent: Type = parse_quote_spanned!(ident.span()=> Self);
                (parse_quote_spanned!(and.spans[0]=> & #lifetime #referent), Some(referent))
            }
            ReceiverKind::Typed(_, ty) => match ungrouped(ty) {
                Type::Reference(reference) if reference.mutability.is_none() => {
                    (ty.as_ref().clone(), Some(reference.elem.as_ref().clone()))
                }
                _ => (ty.as_ref().clone(), None),
            },
            _ => {
                errors.push(receiver, MUTABLE);
                return None;
            }
        };
        let found = Found::within(referent.as_ref().unwrap_or(&ty));
        if !found.mutable.is_empty() {
            errors.push(receiver, MUTABLE);
        } else if form != Form::Inline && !found.borrows.is_empty() {
            errors.push(receiver, "an effect owns its `self`: take `self`, `&self` or `self: Arc<Self>`");
        }
        Some(Argument { ident, ty, referent, skipped: true, receiver: Some(kept) })
    }
}

/// The type of an argument, below its outermost `&`.
fn check_type(kind: Kind, form: Form, ty: &Type, errors: &mut Errors) {
    let found = Found::within(ty);
    if form == Form::Inline {
        // It runs in place, so whatever is borrowed can be lent to it.
        found.mutable.iter().for_each(|borrow| errors.push(borrow, MUTABLE));
    } else {
        for borrow in found.borrows {
            errors.push(
                borrow,
                "only the outermost `&` of an argument can be owned for you: take an owned type here, as `String` for `&str`",
            );
        }
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
