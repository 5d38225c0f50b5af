//! Methods, in every form: who owns `self`, and what of it is recorded.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use relive_macros::trace;
use serde::Serialize;
use serde_json::json;

use super::forms::in_place;
use super::{Error, Refused, Result, Trace};

#[derive(Clone)]
struct Client {
    base: String,
}

impl Client {
    const LEAST: usize = 1;

    #[trace]
    async fn fetch(&self, url: &str) -> Result<usize> {
        Ok(self.base.len() + url.len() + Self::LEAST)
    }

    #[trace(retries = 1)]
    async fn again(&self, url: &str) -> Result<usize> {
        Ok(self.base.len() + url.len())
    }

    #[trace]
    async fn shared(self: Arc<Self>, count: usize) -> Result<usize> {
        Ok(self.base.len() + count)
    }

    #[trace(name = "taken", retries = 1)]
    async fn take(mut self, count: usize) -> Result<usize> {
        self.base.push('x');
        Ok(self.base.len() + count)
    }

    #[trace(name = "by reference to shared")]
    async fn lent(self: &Arc<Self>, count: usize) -> Result<usize> {
        Ok(self.base.len() + count)
    }

    #[trace(blocking, retries = 2)]
    fn blocking(&self, text: &str) -> Result<usize> {
        Ok(self.base.len() + text.len())
    }

    #[trace(resume = "from", key = self.base)]
    fn pages(&self, from: usize) -> impl Stream<Item = Result<String>> {
        stream::iter(self.base.chars().skip(from)).map(|letter| Ok(letter.to_string()))
    }

    #[trace]
    pub(crate) fn letters(self: Arc<Self>, more: &str) -> impl Iterator<Item = Result<char>> {
        let all: Vec<char> = self.base.chars().chain(more.chars()).collect();
        all.into_iter().map(Ok)
    }

    #[allow(clippy::boxed_local, reason = "attributes reach the body, too")]
    #[expect(unused_variables, reason = "as they do here")]
    #[trace]
    fn with_attributes(self: Box<Self>, unused: u32) -> Result<()> {
        Ok(())
    }

    #[trace(name = "without-self")]
    async fn without_self(base: String) -> Result<usize> {
        Ok(base.len())
    }
}

fn client() -> Client {
    Client { base: "abc".into() }
}

#[test]
fn own_a_clone_of_self_which_is_not_recorded() {
    let trace: Trace<usize, Error> = client().fetch("de");
    assert_eq!((trace.meta.name, &trace.recorded), ("fetch", &json!([["url", "de"]])));
    assert_eq!(trace.run(), Ok(6));
    assert_eq!(client().again("d").run(), Ok(4));
}

#[test]
fn take_self_as_any_method_does() {
    assert_eq!(Arc::new(client()).shared(1).run(), Ok(4));
    assert_eq!(client().take(1).run(), Ok(5));
    assert_eq!(Arc::new(client()).lent(2).run(), Ok(5));
    assert_eq!(Box::new(client()).with_attributes(1), Ok(()));
    assert_eq!(Client::without_self("ab".into()).run(), Ok(2));
}

#[test]
fn come_in_every_form() {
    assert_eq!(client().blocking("d").run(), Ok(4));
    let pages = client().pages(0);
    assert_eq!(pages.key, Some(json!("abc")));
    assert_eq!(pages.run(1), (vec!["b".into(), "c".into()], Ok(())));
    assert_eq!(Arc::new(client()).letters("d").run(0).0, ['a', 'b', 'c', 'd']);
}

/// Neither cloned nor sent anywhere.
struct InPlace<T>(Rc<str>, PhantomData<T>);

impl<T: Serialize> InPlace<T> {
    #[trace]
    fn parse<const N: usize>(&self, value: &T, text: &str) -> Result<usize, Refused> {
        let _ = value;
        if text.is_empty() { Err(Refused) } else { Ok(self.0.len() + text.len() + N) }
    }

    #[trace(retries = 1)]
    fn parse_again(&self, value: T) -> Result<usize>
    where
        T: Clone,
    {
        let _ = value;
        Ok(self.0.len())
    }
}

#[test]
fn that_run_in_place_lend_self_and_may_be_of_generic_types() {
    let value = InPlace::<u8>("abc".into(), PhantomData);
    assert!(matches!(value.parse::<2>(&7, "d"), Ok(6)));
    assert!(value.parse::<2>(&7, "").is_err());
    assert_eq!(in_place()[0].recorded, json!([["value", 7], ["text", "d"]]));
    assert_eq!(value.parse_again(1), Ok(3));
}

struct Generic<T>(T);

impl<T: Clone + Serialize + Send + Sync + 'static> Clone for Generic<T> {
    fn clone(&self) -> Self {
        Generic(self.0.clone())
    }
}

impl<T: Clone + Serialize + Send + Sync + 'static> Generic<T> {
    #[trace(name = "generic")]
    async fn fetch<U: Serialize + Send + 'static>(&self, more: U) -> Result<String> {
        Ok(serde_json::to_string(&(&self.0, more)).unwrap())
    }
}

#[test]
fn of_a_generic_type_may_be_generic_themselves() {
    assert_eq!(Generic(1).fetch("a").run(), Ok("[1,\"a\"]".into()));
}

macro_rules! method {
    ($name:ident, $settings:tt, $argument:ty, $result:ty, $body:expr) => {
        impl Client {
            #[trace $settings]
            fn $name(&self, from: $argument) -> $result {
                let base = self.base.len() as $argument;
                let body: fn($argument) -> $result = $body;
                body(base + from)
            }
        }
    };
}
method!(in_place_from_a_macro, (retries = 1), u32, Result<u32>, |from| Ok(from + 1));
method!(blocking_from_a_macro, (blocking), u32, Result<u32>, |from| Ok(from + 2));

macro_rules! items {
    ($name:ident, $argument:ty, $result:ty) => {
        impl Client {
            #[trace(resume = "from")]
            fn $name(&self, from: $argument) -> $result {
                let base = self.base.clone();
                (from..3).map(move |number| Ok(format!("{base}{number}")))
            }
        }
    };
}
items!(items_from_a_macro, u8, impl Iterator<Item = Result<String>>);

#[test]
fn may_come_from_another_macro() {
    assert_eq!(client().in_place_from_a_macro(1), Ok(5));
    assert_eq!(client().blocking_from_a_macro(1).run(), Ok(6));
    assert_eq!(client().items_from_a_macro(0).run(2).0, ["abc2"]);
}
