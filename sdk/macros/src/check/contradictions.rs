//! Settings that contradict each other, the function's form or its arguments: each is a complaint at the user's word that
//! says why, and what to do instead.
//!
//! Nothing here is refused because it is unusual; only what could not do what it says.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{FnArg, Pat, PatType, Type};

use crate::errors::Errors;
use crate::form::{Form, ungrouped};
use crate::parse::{Kind, Source};
use crate::setting::FieldPath;
use crate::settings::Cache;

pub(super) fn check(source: &Source, form: Form, errors: &mut Errors) {
    check_tries(source, errors);
    match source.kind {
        Kind::Task => check_cache(source, errors),
        Kind::Trace => {
            check_form(source, form, errors);
            if !form.is_many() {
                check_once(source, errors);
            }
            check_skipped(source, errors);
            check_redacted(source, errors);
            check_resume(source, form, errors);
        }
    }
}

fn check_tries(source: &Source, errors: &mut Errors) {
    let settings = &source.settings;
    if let (Some(backoff), false) = (settings.given("backoff"), settings.has("retries")) {
        let message =
            "`backoff` is the wait before another try, and without `retries` there is none: add `retries = 3`";
        errors.push(backoff, message);
    }
    if let (Some(timeout), Some(deadline)) = (settings.timeout, settings.deadline)
        && deadline < timeout
    {
        let message = "`deadline` is for all tries together and `timeout` for each of them, so the deadline cannot be \
                       shorter: leave the timeout out, or make the deadline longer";
        errors.push(settings.given("deadline"), message);
    }
}

fn check_cache(source: &Source, errors: &mut Errors) {
    let settings = &source.settings;
    match settings.task.cache {
        Some(Cache::Off) => {
            for key in ["version", "ttl", "ignore", "salt"] {
                if let Some(given) = settings.given(key) {
                    let message = format!(
                        "`{key}` is about cached results, and with `cache = \"off\"` there are none: leave one of them out"
                    );
                    errors.push(given, message);
                }
            }
        }
        Some(Cache::Auto) => {
            if let Some(version) = settings.given("version") {
                let message = "with `cache = \"auto\"` the code says whether a result still holds, with `version` you do: \
                               leave `cache` out";
                errors.push(version, message);
            }
        }
        None => {}
    }
    check_names(source, &settings.task.ignore, "ignored", errors);
}

/// What a form of function cannot do.
fn check_form(source: &Source, form: Form, errors: &mut Errors) {
    let settings = &source.settings;
    let mut refuse = |key: &str, why: &str| {
        if let Some(given) = settings.given(key) {
            errors.push(given, why);
        }
    };
    match form {
        Form::Async => refuse(
            "blocking",
            "`blocking` moves a plain `fn` to a thread where it may take its time: leave out `async`, or `blocking`",
        ),
        Form::Blocking => refuse(
            "spawn",
            "`spawn` is for an `async fn`: a plain `fn` with `blocking` has a thread of its own. Leave `spawn` out",
        ),
        Form::Inline => {
            refuse("spawn", "`spawn` is for an `async fn`: write `blocking` to move a plain `fn` to another thread");
            for key in ["timeout", "deadline", "backoff"] {
                let message = format!(
                    "`{key}` needs `blocking`: a plain `fn` runs in place, where it can neither be left nor waited for"
                );
                refuse(key, &message);
            }
        }
        Form::Stream | Form::Iterator => {
            let what = if form == Form::Stream { "a stream" } else { "an iterator" };
            let instead = [
                ("retries", "try again inside it, or let it go on where it stopped by `resume`"),
                ("backoff", "try again inside it, or let it go on where it stopped by `resume`"),
                ("timeout", "put the limit on what it waits for"),
                ("deadline", "put the limit on what it waits for"),
                ("pure", "its source begins when its start is on disk. Leave it out"),
                ("at_most_once", "let it go on where it stopped by `resume`, or make its effect a trace of its own"),
                ("spawn", "spawn inside it what takes long"),
                ("blocking", "move to another thread inside it what takes long"),
            ];
            for (key, instead) in instead {
                refuse(key, &format!("`{key}` is for a trace that has one result, not for {what}: {instead}"));
            }
        }
    }
}

fn check_once(source: &Source, errors: &mut Errors) {
    let settings = &source.settings;
    if !settings.has("at_most_once") {
        return;
    }
    if let Some(retries) = settings.given("retries") {
        errors.push(retries, "`retries` repeats an effect, and `at_most_once` says never to: leave one of them out");
    }
    if let Some(pure) = settings.given("pure") {
        let message = "`pure` begins an effect before its start is on disk, and without that `at_most_once` cannot know \
                       that it began: leave one of them out";
        errors.push(pure, message);
    }
}

fn check_skipped(source: &Source, errors: &mut Errors) {
    check_names(source, &source.settings.trace.skip, "skipped", errors);
}

fn check_redacted(source: &Source, errors: &mut Errors) {
    let trace = &source.settings.trace;
    for (index, path) in trace.redact.iter().enumerate() {
        let argument = path.argument();
        if named(source, argument).is_none() {
            errors.push(path, no_argument(source, argument));
        } else if trace.skip.contains(argument) {
            let message = format!("`{argument}` is skipped, so there is nothing to redact: leave one of them out");
            errors.push(path, message);
        } else if let Some(other) =
            trace.redact[..index].iter().find(|other| covers(other, path) || covers(path, other))
        {
            let (other, path_text) = (other.text(), path.text());
            let message = if other == path_text {
                format!("`{path_text}` is redacted twice")
            } else {
                format!("`{other}` and `{path_text}`: one is part of the other. Redact the whole, or only the part")
            };
            errors.push(path, message);
        }
    }
}

/// Whether the second is the first or a part of it.
fn covers(whole: &FieldPath, part: &FieldPath) -> bool {
    whole.0.len() <= part.0.len() && whole.0.iter().zip(&part.0).all(|(whole, part)| whole == part)
}

/// A list of arguments: there are such, and each is named once.
fn check_names(source: &Source, names: &[Ident], done: &str, errors: &mut Errors) {
    for (index, name) in names.iter().enumerate() {
        if named(source, name).is_none() {
            errors.push(name, no_argument(source, name));
        } else if names[..index].contains(name) {
            errors.push(name, format!("`{name}` is {done} twice"));
        }
    }
}

fn check_resume(source: &Source, form: Form, errors: &mut Errors) {
    let settings = &source.settings;
    let (Some(given), Some(name)) = (settings.given("resume"), &settings.trace.resume) else { return };
    if !form.is_many() {
        let message = "`resume` tells a stream or an iterator how many items it handed on before: a trace that has one \
                       result has nothing to go on from. Leave it out";
        errors.push(given, message);
        return;
    }
    let arguments = source.function.sig.inputs.iter().filter_map(pattern);
    let Some((_, input)) = arguments.into_iter().find(|(ident, _)| ident.unraw() == name.value()) else {
        errors.push(name, format!("`{}` has no argument `{}`", source.function.sig.ident, name.value()));
        return;
    };
    if !is_integer(&input.ty) {
        let ty = input.ty.to_token_stream();
        let message =
            format!("`{}` is told how many items to pass over, so its type is an integer, as `u64`", name.value());
        errors.push(ty, message);
    }
}

fn is_integer(ty: &Type) -> bool {
    let Type::Path(path) = ungrouped(ty) else { return false };
    let integers = ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
    path.qself.is_none()
        && path.path.segments.last().is_some_and(|last| integers.iter().any(|integer| last.ident == integer))
}

fn no_argument(source: &Source, name: &Ident) -> String {
    if name == "self" {
        return "`self` is neither in the key nor in the record in any case: leave it out".to_owned();
    }
    format!("`{}` has no argument `{name}`", source.function.sig.ident)
}

/// The argument of this name.
fn named<'a>(source: &'a Source, name: &Ident) -> Option<&'a PatType> {
    let arguments = source.function.sig.inputs.iter().filter_map(pattern);
    arguments.into_iter().find(|(ident, _)| *ident == name).map(|(_, input)| input)
}

fn pattern(input: &FnArg) -> Option<(&Ident, &PatType)> {
    let FnArg::Typed(input) = input else { return None };
    let Pat::Ident(name) = input.pat.as_ref() else { return None };
    Some((&name.ident, input))
}

#[cfg(test)]
mod tests {
    use super::Kind::{Task, Trace};
    use crate::testing::{expansion, messages};

    const ASYNC: &str = "async fn f(a: u32, b: User) -> Result<u32, E> {}";
    const PLAIN: &str = "fn f(a: u32, b: User) -> Result<u32, E> {}";
    const STREAM: &str = "fn f(a: u32, b: User) -> impl futures::Stream<Item = Result<u32, E>> + Send {}";
    const ITERATOR: &str = "fn f(a: u32, b: User) -> impl Iterator<Item = Result<u32, E>> {}";

    fn assert_said(kind: super::Kind, settings: &str, function: &str, starts: &[&str]) {
        let said = messages(kind, settings, function);
        assert_eq!(said.len(), starts.len(), "{settings}: {said:#?}");
        for (message, start) in said.iter().zip(starts) {
            assert!(message.starts_with(start), "{settings}: {message}");
        }
    }

    #[test]
    fn tries_fit_each_other() {
        assert_said(Trace, "backoff = \"1s\"", ASYNC, &["`backoff` is the wait before another try"]);
        assert_said(Task, "timeout = \"2s\", deadline = \"1s\"", ASYNC, &["`deadline` is for all tries together"]);
        assert_said(Trace, "at_most_once, retries = 3", ASYNC, &["`retries` repeats an effect"]);
        assert_said(Trace, "at_most_once, pure", ASYNC, &["`pure` begins an effect before its start is on disk"]);
    }

    #[test]
    fn cached_results_are_cached() {
        for setting in ["version = \"2\"", "ttl = \"1h\"", "ignore(a)", "salt = \"x\""] {
            let said = messages(Task, &format!("cache = \"off\", {setting}"), ASYNC);
            assert!(said.len() == 1 && said[0].contains("is about cached results"), "{said:?}");
            expansion(Task, setting, ASYNC);
        }
        assert_said(Task, "cache = \"auto\", version = \"2\"", ASYNC, &["with `cache = \"auto\"` the code says"]);
    }

    #[test]
    fn each_form_is_told_what_it_cannot_do() {
        assert_said(Trace, "blocking", ASYNC, &["`blocking` moves a plain `fn`"]);
        assert_said(Trace, "spawn", PLAIN, &["`spawn` is for an `async fn`: write `blocking`"]);
        assert_said(Trace, "spawn, blocking", PLAIN, &["`spawn` is for an `async fn`: a plain `fn` with `blocking`"]);
        let waits = "timeout = \"1s\", deadline = \"1s\", retries = 1, backoff = \"1s\"";
        assert_said(Trace, waits, PLAIN, &["`timeout` needs", "`deadline` needs", "`backoff` needs"]);
        let refused = ["retries", "backoff", "timeout", "deadline", "pure", "at_most_once", "spawn", "blocking"];
        for (function, what) in [(STREAM, "not for a stream"), (ITERATOR, "not for an iterator")] {
            for key in refused {
                let settings = match key {
                    "retries" => "retries = 1",
                    "backoff" => "backoff = \"1s\", retries = 1",
                    "timeout" | "deadline" => &format!("{key} = \"1s\""),
                    _ => key,
                };
                let said = messages(Trace, settings, function).join(" + ");
                assert!(said.contains(&format!("`{key}` is for a trace")) && said.contains(what), "{said}");
            }
        }
    }

    #[test]
    fn what_fits_is_not_refused() {
        for settings in ["spawn, pure", "at_most_once, timeout = \"1s\"", "timeout = \"1s\", deadline = \"1s\""] {
            expansion(Trace, settings, ASYNC);
        }
        for settings in ["retries = 3", "pure", "at_most_once", "blocking, pure, retries = 2, backoff = \"1s\""] {
            expansion(Trace, settings, PLAIN);
        }
        for settings in ["resume = \"a\", codec = \"json\"", "key = a, redact(b.c, b.d), outside = \"call\""] {
            expansion(Trace, settings, STREAM);
            expansion(Trace, settings, ITERATOR);
        }
    }

    #[test]
    fn only_arguments_are_named() {
        assert_said(Task, "ignore(c, a, a)", ASYNC, &["`f` has no argument `c`", "`a` is ignored twice"]);
        assert_said(Trace, "skip(self)", "fn f(&self) -> Result<(), E> {}", &["`self` is neither in the key nor"]);
        let said = ["`f` has no argument `c`", "`b` is skipped", "`a` is redacted twice"];
        assert_said(Trace, "skip(b), redact(c.d, b.e, a, a)", ASYNC, &said);
        assert_said(Trace, "redact(b.c, b)", ASYNC, &["`b.c` and `b`: one is part of the other"]);
        assert_said(Trace, "redact(b, b.c)", ASYNC, &["`b` and `b.c`: one is part of the other"]);
    }

    #[test]
    fn a_source_goes_on_from_a_number() {
        assert_said(Trace, "resume = \"a\"", ASYNC, &["`resume` tells a stream or an iterator"]);
        assert_said(Trace, "resume = \"c\"", STREAM, &["`f` has no argument `c`"]);
        assert_said(Trace, "resume = \"b\"", ITERATOR, &["`b` is told how many items to pass over"]);
    }
}
