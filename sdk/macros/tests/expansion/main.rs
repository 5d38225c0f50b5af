//! Compiles what the attributes write and runs it.
//!
//! The engine behind them is tested in `sdk/tests`. Here is what only the expansion decides: what is recorded, who owns it,
//! what a body may be, where a function says that it stands.

#![allow(clippy::unwrap_used, reason = "clippy knows tests, but not what they call")]

// `::relive` in an expansion is this file.
extern crate self as relive;

mod forms;
mod methods;
mod settings;
mod standin;
mod typed_errors;

use std::borrow::Cow;
use std::fmt::Display;
use std::path::Path;

use relive_macros::{task, trace};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use standin::{__private, Call, Error, Trace, TraceIterator, TraceStream, TypedError};

type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone)]
struct Client;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    title: String,
}

struct Wrapped<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Wrapped<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        N.serialize(serializer)
    }
}

#[derive(Debug)]
struct Refused;

impl From<Error> for Refused {
    fn from(_: Error) -> Self {
        Refused
    }
}

mod arguments {
    use super::*;

    #[allow(clippy::too_many_arguments, reason = "one of each")]
    #[trace(skip(client, r#type))]
    async fn mixed<'a, T, const N: usize>(
        text: &'a str,
        client: &Client,
        mut many: Vec<T>,
        words: &[String],
        page: &'a Page,
        path: &Path,
        label: &'static str,
        array: Wrapped<N>,
        r#type: fn(&str) -> usize,
        r#loop: Cow<'static, str>,
    ) -> Result<usize>
    where
        T: Serialize + Clone + Send + 'static,
    {
        let Client = client;
        many.extend_from_within(..);
        let title: &str = &page.title;
        let path = path.to_str().unwrap();
        Ok(many.len()
            + r#type(text)
            + words.len()
            + title.len()
            + path.len()
            + label.len()
            + array.0.len()
            + r#loop.len())
    }

    #[test]
    fn are_recorded_by_name_unless_skipped_and_lent_to_the_body_as_it_takes_them() {
        let trace = {
            let (text, words, page) = (String::from("ab"), [String::from("c")], Page { title: "t".into() });
            mixed(
                &text,
                &Client,
                vec![1, 2],
                &words,
                &page,
                Path::new("/p"),
                "l",
                Wrapped([7; 2]),
                str::len,
                "x".into(),
            )
        };
        let recorded = json!([
            ["text", "ab"],
            ["many", [1, 2]],
            ["words", ["c"]],
            ["page", {"title": "t"}],
            ["path", "/p"],
            ["label", "l"],
            ["array", 2],
            ["loop", "x"]
        ]);
        assert_eq!(trace.recorded, recorded);
        assert_eq!(trace.run(), Ok(4 + 2 + 1 + 1 + 2 + 1 + 2 + 1));
    }

    #[trace]
    async fn none() -> Result<(), Refused> {
        Err(Refused)
    }

    #[test]
    fn may_be_missing_and_an_error_is_recorded() {
        assert_eq!(none().recorded, json!([]));
        assert_eq!(none().run(), Err("Refused".into()));
    }

    #[task]
    async fn lent<'a>(words: &'a [String], text: &'a str, page: &Page, mut count: u64, r#type: bool) -> Result<String> {
        count += u64::from(r#type);
        Ok(format!("{} {text} {} {count}", words.join("+"), page.title))
    }

    #[test]
    fn of_a_task_come_back_from_its_log() {
        let call = lent(&["a".into(), "b".into()], "c", &Page { title: "d".into() }, 4, true);
        let input = json!({"words": ["a", "b"], "text": "c", "page": {"title": "d"}, "count": 4, "type": true});
        assert_eq!(call.recorded(), input);
        assert_eq!((call.meta.canonical)(&call.input, &[]), input);
        assert_eq!(call.run(), Ok("a+b c d 5".into()));
    }
}

mod bodies {
    use super::*;

    /// Documented.
    #[allow(unused_variables, reason = "attributes stay")]
    #[task]
    async fn recursive(depth: u32) -> Result<u32> {
        // Its own name is the task, not the body: this is a child run.
        let child: Option<Call<u32, Error>> = (depth > 0).then(|| recursive(depth - 1));
        child.map_or(Ok(0), |call| Ok(call.run().unwrap() + 1))
    }

    #[test]
    fn of_a_task_may_call_the_task() {
        assert_eq!(recursive(3).run(), Ok(3));
    }

    #[trace]
    async fn fails(text: &str) -> Result<u32, Refused> {
        let number: u32 = text.parse().map_err(|_| Refused)?;
        Ok(number)
    }

    #[test]
    fn may_return_early() {
        assert_eq!((fails("7").run(), fails("x").run()), (Ok(7), Err("Refused".into())));
    }

    const META: &str = "the user's";

    #[task]
    async fn names(input: String, arguments: u32) -> Result<String> {
        Ok(format!("{META} {input} {arguments}"))
    }

    #[test]
    fn see_the_names_around_them() {
        assert_eq!(names("a".into(), 1).run(), Ok("the user's a 1".into()));
    }

    fn inside_a_function() -> Result<u32, String> {
        #[trace(name = "bodies::inside")]
        async fn inside(a: u32) -> Result<u32> {
            Ok(a + 1)
        }
        #[task]
        async fn outer_inside(a: u32) -> Result<u32> {
            Ok(inside(a).run().unwrap() * 2)
        }
        outer_inside(3).run()
    }

    #[test]
    fn may_stand_inside_a_function() {
        assert_eq!(inside_a_function(), Ok(8));
    }

    macro_rules! tracing_function {
        ($name:ident, $argument:ty, $result:ty) => {
            #[trace]
            async fn $name(argument: $argument) -> $result {
                Ok(argument.len())
            }
        };
    }
    tracing_function!(from_a_macro, &str, Result<usize>);

    macro_rules! task_function {
        ($name:ident, $argument:ty) => {
            #[task]
            async fn $name(argument: $argument) -> Result<usize> {
                Ok(argument.len())
            }
        };
    }
    task_function!(task_from_a_macro, &str);

    #[test]
    fn may_come_from_another_macro() {
        assert_eq!((from_a_macro("abc").run(), task_from_a_macro("abc").run()), (Ok(3), Ok(3)));
    }

    #[trace(skip(value))]
    async fn not_sync(value: std::cell::Cell<u32>) -> Result<u32> {
        Ok(value.get())
    }

    #[test]
    fn take_what_is_send_and_not_sync() {
        assert_eq!(not_sync(std::cell::Cell::new(1)).run(), Ok(1));
    }
}

mod elsewhere {
    pub(super) mod relive_moved {
        pub(crate) use crate::standin::*;
    }

    #[relive_macros::trace(crate = relive_moved, outside = "call")]
    pub(super) async fn with_path() -> Result<u32, relive_moved::Error> {
        Ok(1)
    }

    #[relive_macros::task(crate = crate::elsewhere::relive_moved, name = "moved", cache = "off")]
    pub(super) async fn with_path_too(a: u32) -> Result<u32, relive_moved::Error> {
        Ok(a)
    }
}

#[test]
fn settings_reach_the_static() {
    assert!(elsewhere::with_path().meta.outside_call);
    assert_eq!(elsewhere::with_path().run(), Ok(1));
    let call = elsewhere::with_path_too(2);
    assert_eq!(
        (call.meta.name, &call.meta.cache),
        ("moved", &__private::CachePolicy { mode: __private::CacheMode::Off, ..__private::CachePolicy::DEFAULT })
    );
    assert_eq!(call.run(), Ok(2));
}

#[trace]
#[doc(hidden)]

async fn stands_here<T>(value: T) -> Result<u32, Refused>
where
    T: Serialize + Display + Send + 'static,
{
    Ok(value.to_string().len() as u32)
}
const STANDS_HERE: u32 = line!() - 6;

#[test]
fn a_function_says_where_it_stands_and_where_it_is_called() {
    let (trace, line): (Trace<u32, Refused>, u32) = (stands_here("a"), line!());
    let meta = trace.meta;
    assert_eq!((meta.name, meta.line, meta.module), ("stands_here", STANDS_HERE, module_path!()));
    assert_eq!((meta.file, trace.caller.file(), trace.caller.line()), (file!(), file!(), line));
}

#[test]
fn every_function_is_known_before_it_is_called() {
    let traces: Vec<_> = inventory::iter::<__private::TraceEntry>.into_iter().map(|entry| entry.0.name).collect();
    for name in ["mixed", "none", "fails", "bodies::inside", "from_a_macro", "with_path", "stands_here"] {
        assert_eq!(traces.iter().filter(|other| **other == name).count(), 1, "{name}");
    }
    let tasks: Vec<_> = inventory::iter::<__private::TaskEntry>.into_iter().map(|entry| entry.0).collect();
    for name in ["lent", "recursive", "names", "outer_inside", "moved"] {
        assert_eq!(tasks.iter().filter(|task| task.name == name).count(), 1, "{name}");
    }
    assert!(tasks.iter().all(|task| tasks.iter().filter(|other| other.code == task.code).count() == 1));
    let meta = stands_here("a").meta;
    assert!(tasks.iter().all(|task| task.code != meta.code && (task.file, task.line) != (meta.file, meta.line)));
    assert!(tasks.iter().all(|task| task.module.starts_with(module_path!())));
}

#[trace]
#[expect(unexpected_cfgs, reason = "a predicate that never holds")]
async fn built(n: u32) -> Result<u32, Refused> {
    #[cfg(any(windows, not(windows)))]
    let n = n + 1;
    Ok(match n {
        #[cfg(debug_assertions)]
        1 => 10,
        n if cfg!(feature = "of another") => n,
        _ => 20,
    })
}

#[test]
fn the_code_of_a_function_is_what_the_build_takes_of_it() {
    let meta = built(0).meta;
    let hex = meta.code.0.map(|byte| format!("{byte:02x}")).concat();
    let (debug, release) = ("2ff267884d995573917b8d26d539e31c", "04ac1980eeb08928197ad75cbccdd10c");
    assert_eq!(hex, if cfg!(debug_assertions) { debug } else { release });
    assert_eq!(built(0).run(), Ok(if cfg!(debug_assertions) { 10 } else { 20 }));
}
