//! An error type that comes back from the log as itself, and what becomes of the engine's errors.

use std::fmt;

use relive_macros::{TypedError, trace};
use serde::{Deserialize, Serialize};

use super::{__private, Error, TypedError};

macro_rules! displayed {
    ($($error:ty),*) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self:?}")
            }
        }

        impl std::error::Error for $error {}
    )*};
}
displayed!(Fetch, OnlyOurs, Decided, Status, Chosen);

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedError)]
enum Fetch {
    Status(u16),
    #[relive(terminal)]
    NotFound {
        url: String,
    },
    #[relive(terminal)]
    Gone,
    #[relive(engine)]
    Engine(Error),
}

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedError)]
#[relive(name = "ours", crate = crate)]
enum OnlyOurs {
    #[relive(engine)]
    Engine { source: Error },
}

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedError)]
#[relive(terminal)]
enum Decided {
    A,
    #[relive(engine)]
    Engine(Error),
}

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedError)]
#[relive(from = Status::by_engine, terminal)]
struct Status {
    code: u16,
}

impl Status {
    fn by_engine(_: Error) -> Self {
        Status { code: 500 }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedError)]
#[relive(from = chosen)]
enum Chosen {
    #[relive(terminal)]
    A,
    B,
}

fn chosen(_: Error) -> Chosen {
    Chosen::B
}

#[test]
fn comes_back_as_it_was() {
    let not_found = Fetch::NotFound { url: "a".into() };
    let recorded = Error::of(&not_found);
    assert_eq!(Fetch::from(recorded), not_found);
    assert_eq!(Status::from(Error::of(&Status { code: 404 })), Status { code: 404 });
}

#[test]
fn holds_what_the_engine_reports() {
    let ours = || Error("cancelled".into());
    assert_eq!(Fetch::from(ours()), Fetch::Engine(ours()));
    assert_eq!(OnlyOurs::from(ours()), OnlyOurs::Engine { source: ours() });
    assert_eq!(Status::from(ours()), Status { code: 500 });
    assert_eq!(Chosen::from(ours()), Chosen::B);
    assert_eq!(Fetch::Engine(ours()).engine_error(), Some(&ours()));
    assert_eq!(OnlyOurs::Engine { source: ours() }.engine_error(), Some(&ours()));
    assert_eq!(Fetch::Gone.engine_error(), None);
}

#[test]
fn says_whether_another_try_is_of_use() {
    let terminal = || Error("terminal".into());
    assert!(Fetch::Gone.is_terminal() && Fetch::NotFound { url: String::new() }.is_terminal());
    assert!(!Fetch::Status(503).is_terminal() && !Fetch::Engine(Error("x".into())).is_terminal());
    assert!(Fetch::Engine(terminal()).is_terminal() && OnlyOurs::Engine { source: terminal() }.is_terminal());
    assert!(Decided::A.is_terminal() && Status { code: 1 }.is_terminal());
    assert!(Chosen::A.is_terminal() && !Chosen::B.is_terminal());
}

#[test]
fn is_known_under_its_name() {
    let mut known: Vec<_> = inventory::iter::<__private::TypedErrorEntry>.into_iter().map(|entry| entry.0).collect();
    known.sort_unstable();
    assert_eq!(known, ["Chosen", "Decided", "Fetch", "Status", "ours"]);
}

#[trace]
async fn fetch(status: u16) -> Result<(), Fetch> {
    Err(Fetch::Status(status))
}

#[test]
fn is_what_a_trace_may_return() {
    assert_eq!(fetch(503).run(), Err("Status(503)".into()));
}
