//! Writes what makes an error type come back from the log as itself.

use proc_macro2::TokenStream;
use quote::quote;

use crate::typed_error::{TypedError, VariantKind};

pub(crate) fn typed_error(error: &TypedError) -> TokenStream {
    let TypedError { ident, name, root, variants, from, .. } = error;
    let terminal = is_terminal(error);
    let engine = variants.iter().find_map(|variant| match variant {
        VariantKind::Engine(variant, member) => Some((variant, member)),
        _ => None,
    });
    let engine_error = engine.map(|(variant, member)| {
        let otherwise = (variants.len() > 1).then(|| quote!(_ => ::core::option::Option::None,));
        quote! {
            fn engine_error(&self) -> ::core::option::Option<&#root::Error> {
                match self {
                    Self::#variant { #member: __error } => ::core::option::Option::Some(__error),
                    #otherwise
                }
            }
        }
    });
    let ours = match (engine, from) {
        (Some((variant, member)), _) => quote!(Self::#variant { #member: __error }),
        (None, from) => quote!(#from(__error)),
    };
    quote! {
        #[automatically_derived]
        impl #root::TypedError for #ident {
            const NAME: &'static str = #name;

            fn is_terminal(&self) -> bool {
                #terminal
            }

            #engine_error
        }

        #[automatically_derived]
        impl ::core::convert::From<#root::Error> for #ident {
            fn from(__error: #root::Error) -> Self {
                match __error.typed::<Self>() {
                    ::core::result::Result::Ok(__value) => __value,
                    ::core::result::Result::Err(__error) => #ours,
                }
            }
        }

        #root::__private::inventory::submit! { #root::__private::TypedErrorEntry::of::<#ident>() }
    }
}

fn is_terminal(error: &TypedError) -> TokenStream {
    if error.terminal {
        return quote!(true);
    }
    let arms: Vec<_> = error
        .variants
        .iter()
        .filter_map(|variant| match variant {
            VariantKind::Ordinary => None,
            VariantKind::Terminal(variant) => Some(quote!(Self::#variant { .. } => true,)),
            VariantKind::Engine(variant, member) => {
                Some(quote!(Self::#variant { #member: __error } => __error.is_terminal(),))
            }
        })
        .collect();
    if arms.is_empty() {
        return quote!(false);
    }
    let otherwise = (arms.len() < error.variants.len()).then(|| quote!(_ => false,));
    quote! {
        match self {
            #(#arms)*
            #otherwise
        }
    }
}
