//! Writes what the settings say as the fields of the statics. What they do not say is left to the engine's defaults.

use std::time::Duration;

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use crate::form::Form;
use crate::parse::Source;
use crate::settings::{Backoff, Cache, Codec, Keep, Settings};

pub(super) fn of_trace(source: &Source, form: Form, private: &TokenStream) -> TokenStream {
    let settings = &source.settings;
    let mut fields = common(settings, form == Form::Inline, private);
    for flag in ["pure", "at_most_once", "spawn"] {
        let flag = settings.given(flag).map(|key| format_ident!("{key}"));
        fields.extend(flag.map(|flag| quote!(#flag: true)));
    }
    if settings.has("resume") {
        fields.push(quote!(resumes: true));
    }
    if settings.has("redact") {
        let paths = settings.trace.redact.iter().map(crate::setting::FieldPath::text);
        fields.push(quote!(redact: &[#(#paths),*]));
    }
    with_defaults(&quote!(#private::TracePolicy), &fields)
}

pub(super) fn of_task(source: &Source, private: &TokenStream) -> TokenStream {
    let mut fields = common(&source.settings, false, private);
    if source.settings.task.new_attempt_on_divergence {
        fields.push(quote!(new_attempt_on_divergence: true));
    }
    if let Some(Keep { age, count }) = source.settings.task.keep {
        let mut keep = quote!(#private::Keep::FOREVER);
        if let Some(age) = age.map(|age| duration(age, private)) {
            keep = quote!(#private::Keep::age(#age));
        }
        if let Some(count) = count.map(Literal::u32_unsuffixed) {
            keep = quote!(#keep.and_newest(#count));
        }
        fields.push(quote!(keep: ::core::option::Option::Some(#keep)));
    }
    with_defaults(&quote!(#private::TaskPolicy), &fields)
}

pub(super) fn of_cache(source: &Source, private: &TokenStream) -> TokenStream {
    let task = &source.settings.task;
    let mut fields = vec![];
    if let Some(version) = &task.version {
        fields.push(quote!(mode: #private::CacheMode::Version(#version)));
    } else if task.cache == Some(Cache::Off) {
        fields.push(quote!(mode: #private::CacheMode::Off));
    } else if task.cache.is_some() || task.ttl.is_some() || task.salt.is_some() || !task.ignore.is_empty() {
        // What says how results are shared says that they are.
        fields.push(quote!(mode: #private::CacheMode::Auto));
    }
    if let Some(ttl) = task.ttl {
        let ttl = duration(ttl, private);
        fields.push(quote!(ttl: ::core::option::Option::Some(#ttl)));
    }
    if !task.ignore.is_empty() {
        let ignored = task.ignore.iter().map(|name| name.unraw().to_string());
        fields.push(quote!(ignored: &[#(#ignored),*]));
    }
    if let Some(salt) = &task.salt {
        fields.push(quote!(salt: #salt));
    }
    with_defaults(&quote!(#private::CachePolicy), &fields)
}

/// What traces and tasks have in common. What runs `in_place` is tried again at once: nothing can wait there.
fn common(settings: &Settings, in_place: bool, private: &TokenStream) -> Vec<TokenStream> {
    let mut fields = vec![];
    if let Some(retries) = settings.retries {
        let retries = Literal::u32_unsuffixed(retries);
        let mut parts = vec![quote!(retries: #retries)];
        if in_place {
            parts.push(quote!(backoff: #private::Duration::ZERO));
        }
        let Backoff { first, factor, max, jitter } = settings.backoff;
        parts.extend(first.map(|first| duration(first, private)).map(|first| quote!(backoff: #first)));
        parts.extend(factor.map(Literal::f64_unsuffixed).map(|factor| quote!(factor: #factor)));
        parts.extend(max.map(|max| duration(max, private)).map(|max| quote!(backoff_max: #max)));
        parts.extend(jitter.map(|jitter| quote!(jitter: #jitter)));
        let retry = with_defaults(&quote!(#private::RetryPolicy), &parts);
        fields.push(quote!(retry: #retry));
    }
    for (name, limit) in [("timeout", settings.timeout), ("deadline", settings.deadline)] {
        let Some(limit) = limit else { continue };
        let (name, limit) = (format_ident!("{name}"), duration(limit, private));
        fields.push(quote!(#name: ::core::option::Option::Some(#limit)));
    }
    if let Some(codec) = settings.codec {
        let codec = match codec {
            Codec::MessagePack => quote!(MESSAGE_PACK),
            Codec::Json => quote!(JSON),
            Codec::Bincode => quote!(BINCODE),
        };
        fields.push(quote!(codec: ::core::option::Option::Some(#private::PayloadCodec::#codec)));
    }
    fields
}

/// A struct's value; its `DEFAULT` says what the fields do not.
fn with_defaults(name: &TokenStream, fields: &[TokenStream]) -> TokenStream {
    if fields.is_empty() {
        return quote!(#name::DEFAULT);
    }
    quote!(#name { #(#fields,)* ..#name::DEFAULT })
}

fn duration(duration: Duration, private: &TokenStream) -> TokenStream {
    let milliseconds = u64::try_from(duration.as_millis()).expect("read from that many milliseconds");
    let milliseconds = Literal::u64_unsuffixed(milliseconds);
    quote!(#private::Duration::from_millis(#milliseconds))
}
