//! Checks that a function can be run from its log, and says what to change if not.
//!
//! The engine calls the body long after the caller has gone, from owned values, perhaps in another process. So every
//! argument has a name and an owner, and nothing borrowed comes back. What the compiler says well by itself (a missing
//! `Serialize`, an argument that is not `Send`) is left to it.

mod argument;
mod contradictions;
mod found;

use syn::ext::IdentExt;
use syn::{GenericParam, ItemFn, ReturnType, Safety, Type, parse_quote};

pub(crate) use self::argument::Argument;
use self::found::Found;
use crate::errors::Errors;
use crate::form::{Form, Many, is_boxed_many, ungrouped};
use crate::parse::{Kind, Source};

/// What `expand` needs to know about a function that is in order.
pub(crate) struct Checked {
    /// The name on record.
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) arguments: Vec<Argument>,
    /// The `Result` that is recorded: what the function returns, or each item that it yields.
    pub(crate) result: Type,
}

impl Checked {
    /// Adds every complaint to `errors`; if there is none, the function is in order.
    pub(crate) fn check(source: &Source, errors: &mut Errors) -> Self {
        let (kind, function, form) = (source.kind, &source.function, Form::of(source));
        check_words(kind, function, errors);
        check_generics(kind, function, errors);
        let inputs = function.sig.inputs.iter();
        let arguments = inputs.filter_map(|input| Argument::check(source, form, input, errors)).collect();
        contradictions::check(source, form, errors);
        let result = recorded(kind, form, function, errors);
        let name = source.settings.name.clone().unwrap_or_else(|| function.sig.ident.unraw().to_string());
        Checked { name, form, arguments, result }
    }

    /// Whether it is a method, whose body only a method can be.
    pub(crate) fn is_method(&self) -> bool {
        self.arguments.iter().any(|argument| argument.receiver.is_some())
    }
}

/// The words before `fn`.
fn check_words(kind: Kind, function: &ItemFn, errors: &mut Errors) {
    let signature = &function.sig;
    if kind == Kind::Task && signature.asyncness.is_none() {
        errors
            .push(signature.fn_token, "a task is an `async fn`, as it awaits what it calls: write `async` before `fn`");
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

/// The type of what is recorded.
fn recorded(kind: Kind, form: Form, function: &ItemFn, errors: &mut Errors) -> Type {
    let name = &function.sig.ident;
    let ReturnType::Type(_, ty) = &function.sig.output else {
        let message = format!(
            "a {kind} function returns `Result<T, E>`, since the engine may have to report an error of its own"
        );
        errors.push(name, message);
        return parse_quote!(());
    };
    match Many::of(ty) {
        Some(Many { item: Some(item), .. }) if form.is_many() && kind == Kind::Trace => {
            check_recorded("an item", item, errors);
            return ungrouped(item).clone();
        }
        Some(many) => {
            let what = if many.form == Form::Stream { "Stream" } else { "Iterator" };
            let message = match (kind, form.is_many()) {
                (Kind::Task, _) => {
                    "a task returns one result: collect the items, or give each to a trace or to another task".to_owned()
                }
                (Kind::Trace, true) => format!("say what it yields: `impl {what}<Item = Result<T, E>>`"),
                (Kind::Trace, false) => format!(
                    "an `async fn` returns one result: write `fn {name}(…) -> impl Stream<Item = Result<T, E>>` without \
                     `async`, and await inside the stream, as `async_stream::try_stream!` or `try_flatten_stream` does"
                ),
            };
            errors.push(ty, message);
        }
        None if form == Form::Inline && is_boxed_many(ty) => errors.push(
            ty,
            "write `impl Stream<Item = Result<T, E>>` or `impl Iterator<Item = Result<T, E>>` for what is in the box: the \
             caller gets a `TraceStream` or `TraceIterator` in its place",
        ),
        None if form != Form::Async && is_future(ty) => {
            errors.push(ty, "write `async fn` in place of a `fn` that returns a future");
        }
        None => check_recorded("a result", ty, errors),
    }
    ungrouped(ty).clone()
}

/// A type that is recorded and read back.
fn check_recorded(what: &str, ty: &Type, errors: &mut Errors) {
    let found = Found::within(ty);
    for borrow in found.borrows {
        errors.push(borrow, format!("{what} is recorded and read back, so it cannot borrow: return an owned type"));
    }
    for unnamed in found.unnamed {
        errors.push(unnamed, format!("{what} is recorded and read back, so its type needs a name, not `impl Trait`"));
    }
}

fn is_future(ty: &Type) -> bool {
    let Type::ImplTrait(unnamed) = ungrouped(ty) else { return false };
    unnamed.bounds.iter().any(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|last| last.ident == "Future"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::Kind::{Task, Trace};
    use crate::testing::{expansion, messages};

    #[test]
    fn every_bad_argument_is_reported_at_once() {
        let function = "async fn f(_: u32, (a, b): (u32, u32), ref c: u32, d: &mut u32, e: Vec<&str>,
            g: Cow<'_, str>, h: impl Serialize, i: &[&str], #[cfg(unix)] j: u32) -> Result<(), E> {}";
        let messages = messages(Trace, "skip(d, z, d)", function);
        let starts = [
            "give this argument a name",
            "give this argument a name",
            "give this argument a name",
            "a replay does not run the body, so what it did through `&mut`",
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
        for part in ["`const`", "`unsafe`", "`extern`", "variadic", "Result<T, E>"] {
            assert!(messages.iter().any(|message| message.contains(part)), "{part}: {messages:#?}");
        }
        assert_eq!(messages.len(), 5);
        let task = crate::testing::messages(Task, "", "fn f() -> Result<(), E> {}");
        assert_eq!(task, ["a task is an `async fn`, as it awaits what it calls: write `async` before `fn`"]);
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
    fn a_receiver_is_owned() {
        for receiver in ["&mut self", "self: &mut Self", "self: Pin<&mut Self>"] {
            for word in ["async fn", "fn"] {
                let said = messages(Trace, "", &format!("{word} f({receiver}) -> Result<(), E> {{}}"));
                assert!(said.len() == 1 && said[0].contains("through `&mut`"), "{receiver}: {said:?}");
            }
        }
        let borrowed = messages(Trace, "", "async fn f(self: Pin<&Self>) -> Result<(), E> {}");
        assert_eq!(borrowed, ["an effect owns its `self`: take `self`, `&self` or `self: Arc<Self>`"]);
        expansion(Trace, "", "fn f(self: Pin<&Self>) -> Result<(), E> {}");
    }

    #[test]
    fn what_runs_in_place_is_lent_what_is_borrowed() {
        let function = "fn f(a: &[&str], b: Option<&str>, c: Cow<'_, str>) -> Result<(), E> {}";
        expansion(Trace, "", function);
        assert_eq!(messages(Trace, "blocking", function).len(), 3);
        assert!(messages(Trace, "", "fn f(a: Option<&mut u32>) -> Result<(), E> {}")[0].contains("through `&mut`"));
    }

    #[test]
    fn a_stream_or_an_iterator_says_what_it_yields() {
        let said = |function: &str| messages(Trace, "", function).join(" + ");
        assert_eq!(said("fn f() -> impl Stream + Send {}"), "say what it yields: `impl Stream<Item = Result<T, E>>`");
        assert_eq!(said("fn f() -> impl Iterator {}"), "say what it yields: `impl Iterator<Item = Result<T, E>>`");
        assert!(said("fn f(a: &str) -> impl Stream<Item = Result<&str, E>> {}").starts_with("an item is recorded"));
        assert!(said("async fn f() -> impl Stream<Item = R> {}").contains("write `fn f(…) -> impl Stream<Item"));
        for boxed in ["BoxStream<'static, R>", "Pin<Box<dyn Stream<Item = R>>>", "Box<dyn Iterator<Item = R>>"] {
            assert!(said(&format!("fn f() -> {boxed} {{}}")).starts_with("write `impl Stream"), "{boxed}");
        }
        assert!(said("fn f() -> impl Future<Output = R> {}").starts_with("write `async fn`"));
        let task = messages(Task, "", "async fn f() -> impl Stream<Item = R> {}");
        assert!(task[0].starts_with("a task returns one result"), "{task:?}");
    }

    #[test]
    fn lifetimes_of_later_calls_are_no_borrows() {
        let function = "async fn f(a: fn(&str) -> &str, b: Box<dyn Fn(&str)>, c: Box<dyn for<'a> T<'a>>,
            d: &'static str) -> Result<(), E> {}";
        assert!(!expansion(Trace, "skip(a, b, c)", function).contains("own (d)"));
    }
}
