//! `#[relive::test]`: an `async fn` as a test, on a runtime whose time is virtual.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, Path, parse_quote};

use crate::errors::Errors;
use crate::setting::Setting;

/// The test, or what is wrong with it.
pub(crate) fn expanded(settings: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let mut root: Path = parse_quote!(::relive);
    for setting in Setting::split(settings, &mut errors) {
        if setting.key == "crate" {
            let path = setting.assigned("`crate` takes a path, as in `crate = my::relive`");
            root = errors.value(path).unwrap_or(root);
        } else {
            errors.push(&setting.key, format!("unknown setting `{}`: #[relive::test] takes `crate`", setting.key));
        }
    }
    let function: ItemFn = syn::parse2(item)?;
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        errors
            .push(signature.fn_token, "a #[relive::test] is an `async fn`: a plain one needs no runtime, use #[test]");
    }
    if signature.inputs.len() > 1 {
        errors
            .push(&signature.inputs, "a #[relive::test] takes one argument, a `relive::testing::TestEngine`, or none");
    }
    if let Some(parameter) = signature.generics.params.first() {
        errors.push(parameter, "a test has no parameters: nobody would say what they are");
    }
    errors.finish()?;
    let ItemFn { attrs, vis, sig, block, .. } = &function;
    let (ident, output, inputs) = (&sig.ident, &sig.output, &sig.inputs);
    let run = if inputs.is_empty() { quote!(block_on(__test())) } else { quote!(block_on_with(__test)) };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #ident() #output {
            async fn __test(#inputs) #output #block
            #root::testing::#run
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(item: &str) -> Vec<String> {
        match expanded(TokenStream::new(), item.parse().expect("tokens")) {
            Ok(tokens) => panic!("expanded without a complaint: {tokens}"),
            Err(error) => error.into_iter().map(|error| error.to_string()).collect(),
        }
    }

    #[test]
    fn a_test_is_async_and_takes_at_most_an_engine() {
        assert!(said("fn f() {}")[0].starts_with("a #[relive::test] is an `async fn`"));
        assert!(said("async fn f(a: A, b: B) {}")[0].starts_with("a #[relive::test] takes one argument"));
        assert!(said("async fn f<T>() {}")[0].starts_with("a test has no parameters"));
    }

    #[test]
    fn a_test_keeps_its_attributes_and_what_it_returns() {
        let test = expanded(
            quote!(crate = my::relive),
            quote!(
                #[ignore]
                async fn f(engine: E) -> R {
                    g().await
                }
            ),
        );
        let test = test.expect("a test is in order").to_string();
        let expected = quote! {
            #[::core::prelude::v1::test]
            #[ignore]
            fn f() -> R {
                async fn __test(engine: E) -> R { g().await }
                my::relive::testing::block_on_with(__test)
            }
        };
        assert_eq!(test, expected.to_string());
    }
}
