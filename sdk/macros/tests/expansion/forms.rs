//! Every form a traced function can have: what it lends, owns, clones and repeats.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures::{Stream, stream};
use relive_macros::trace;
use serde::Serialize;
use serde_json::json;

use super::standin::Described;
use super::{__private, Error, Page, Refused, Result, Trace, TraceIterator, TraceStream};

/// What was called in place since the last time.
pub(crate) fn in_place() -> Vec<Described> {
    __private::IN_PLACE.take()
}

type Tries = Arc<AtomicU32>;

fn count(tries: &Tries) -> u32 {
    tries.fetch_add(1, Ordering::Relaxed) + 1
}

mod plain {
    use super::*;

    struct NotClone(u32);

    #[trace(skip(kept))]
    fn parse<T: Serialize>(
        text: &str,
        words: &[&str],
        extra: Option<&str>,
        kept: NotClone,
        all: Vec<T>,
    ) -> Result<u32> {
        let number: u32 = text.parse().map_err(|_| Error(format!("no number: {text}")))?;
        Ok(number + (words.len() + extra.map_or(0, str::len) + all.len()) as u32 + kept.0)
    }

    #[test]
    fn returns_its_result_and_is_lent_what_its_caller_holds() {
        let (result, line) = (parse("1", &["a", "b"], Some("cd"), NotClone(10), vec![0_u8; 3]), line!());
        assert_eq!(result, Ok(18));
        let calls = in_place();
        let recorded = json!([["text", "1"], ["words", ["a", "b"]], ["extra", "cd"], ["all", [0, 0, 0]]]);
        assert_eq!((&calls[0].recorded, calls[0].caller.line()), (&recorded, line));
        assert_eq!(parse("x", &[], None, NotClone(0), vec![0]), Err(Error("Error(\"no number: x\")".into())));
    }

    #[trace(retries = 2, skip(tries))]
    fn repeated(tries: &Tries, mut many: Vec<u32>, text: String) -> Result<usize, Refused> {
        many.push(1);
        if count(tries) < 3 { Err(Refused) } else { Ok(many.len() + text.len()) }
    }

    #[test]
    fn is_repeated_with_the_arguments_it_began_with() {
        let tries = Tries::default();
        assert!(matches!(repeated(&tries, vec![0], "ab".into()), Ok(4)));
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert_eq!(in_place()[0].meta.policy.retry.backoff, std::time::Duration::ZERO);
    }
}

mod blocking {
    use super::*;

    #[trace(blocking)]
    fn compute<T: Serialize + Clone + Send + 'static>(text: &str, page: &Page, mut all: Vec<T>) -> Result<usize> {
        all.clear();
        Ok(text.len() + page.title.len() + all.len())
    }

    #[test]
    fn owns_its_arguments_on_another_thread() {
        let trace: Trace<usize, Error> = compute(&String::from("ab"), &Page { title: "c".into() }, vec![1]);
        assert_eq!(trace.recorded, json!([["text", "ab"], ["page", {"title": "c"}], ["all", [1]]]));
        assert_eq!(trace.run(), Ok(3));
    }

    #[trace(blocking, retries = 2, backoff = "1s", timeout = "1m", skip(tries))]
    fn repeated(tries: &Tries, text: &str, mut many: Vec<u32>) -> Result<usize, Refused> {
        many.push(1);
        if count(tries) < 3 { Err(Refused) } else { Ok(many.len() + text.len()) }
    }

    #[test]
    fn is_repeated_with_the_arguments_it_began_with() {
        assert_eq!(repeated(&Tries::default(), "ab", vec![0]).run(), Ok(4));
    }
}

mod repeated {
    use super::*;

    #[trace(retries = 3, skip(tries))]
    async fn fetch<T>(tries: &Tries, text: &str, words: &[String], label: &'static str, mut value: T) -> Result<T>
    where
        T: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + Extend<u32> + 'static,
    {
        value.extend([text.len() as u32, words.len() as u32, label.len() as u32]);
        if count(tries) < 3 { Err(Error("again".into())) } else { Ok(value) }
    }

    #[test]
    fn clones_its_arguments_for_each_try() {
        let tries = Tries::default();
        let trace = fetch(&tries, "ab", &["c".into()], "def", vec![7]);
        assert_eq!(trace.run(), Ok(vec![7, 2, 1, 3]));
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert!(fetch(&Tries::new(AtomicU32::new(10)), "", &[], "", vec![]).run().is_ok());
    }
}

mod streams {
    use super::*;

    #[trace(skip(page))]
    fn letters<'a>(text: &'a str, page: &Page) -> impl Stream<Item = Result<char>> + Send + use<'a> {
        let title = page.title.chars().collect::<Vec<_>>();
        stream::iter(text.chars().chain(title)).map(Ok)
    }

    use futures::StreamExt;

    #[test]
    fn lend_their_source_what_they_own() {
        let stream: TraceStream<char, Error> = letters(&String::from("ab"), &Page { title: "cd".into() });
        assert_eq!(stream.recorded, json!([["text", "ab"]]));
        assert_eq!(stream.run(0), (vec!['a', 'b', 'c', 'd'], Ok(())));
    }

    #[trace(resume = "from")]
    fn numbers(from: u32, to: u32) -> impl futures::stream::Stream<Item = Result<u32, Refused>> {
        stream::iter(from..).map(move |number| if number < to { Ok(number) } else { Err(Refused) })
    }

    #[test]
    fn go_on_after_what_was_handed_on() {
        let stream = numbers(2, 5);
        assert!(stream.meta.policy.resumes);
        assert_eq!(stream.recorded, json!([["from", 2], ["to", 5]]));
        assert_eq!(stream.run(2), (vec![4], Err("Refused".into())));
    }

    #[trace]
    fn awaiting<T: Serialize + Send + Sync + 'static>(all: Vec<T>) -> impl Stream<Item = Result<usize>> {
        stream::once(async move { Ok(std::future::ready(all.len()).await) })
    }

    #[test]
    fn may_be_generic() {
        assert_eq!(awaiting(vec!["a"]).run(0), (vec![1], Ok(())));
    }
}

mod iterators {
    use super::*;

    #[trace]
    fn words(text: &str, by: char) -> impl Iterator<Item = Result<String>> {
        text.split(by).map(|word| if word.is_empty() { Err(Error("empty".into())) } else { Ok(word.to_owned()) })
    }

    #[test]
    fn end_with_the_first_error() {
        let iterator: TraceIterator<String, Error> = words("a b  c", ' ');
        assert_eq!(iterator.recorded, json!([["text", "a b  c"], ["by", " "]]));
        assert_eq!(iterator.run(0), (vec!["a".into(), "b".into()], Err("Error(\"empty\")".into())));
    }

    #[trace(resume = "type", skip(seen))]
    fn numbers(seen: Arc<Mutex<Vec<u8>>>, r#type: u8) -> impl Iterator<Item = Result<u8>> + Send + 'static {
        (r#type..3).map(move |number| {
            seen.lock().unwrap().push(number);
            Ok(number)
        })
    }

    #[test]
    fn go_on_after_what_was_handed_on() {
        let seen = Arc::default();
        assert_eq!(numbers(Arc::clone(&seen), 0).run(1), (vec![1, 2], Ok(())));
        assert_eq!(*seen.lock().unwrap(), [1, 2]);
    }
}

mod keys {
    use super::*;

    #[trace(key = page.title)]
    async fn one(page: Page, count: u32) -> Result<u32> {
        Ok(count + page.title.len() as u32)
    }

    #[trace(key = (&page.title, count + 1), retries = 1)]
    fn two(page: Page, count: u32) -> Result<u32> {
        Ok(count + page.title.len() as u32)
    }

    #[test]
    fn stand_for_the_arguments() {
        let trace = one(Page { title: "a".into() }, 1);
        assert_eq!((&trace.key, &trace.recorded[1]), (&Some(json!("a")), &json!(["count", 1])));
        assert_eq!(trace.run(), Ok(2));
        assert_eq!(two(Page { title: "a".into() }, 1), Ok(2));
        assert_eq!(in_place()[0].key, Some(json!(["a", 2])));
    }
}
