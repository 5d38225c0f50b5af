//! Panics of user code: caught here, described, and what they carried dropped where it can do no harm.
//!
//! Where a thread panicked is remembered by a hook, so that the record can say it. The hook is set once for the process and calls the one before it, so what is printed stays the same. It remembers
//! places only on threads that [`watch`] at that moment, and only one each. Tests may have it say nothing of those.
//!
//! Invariant: of a value of the user's that is dropped here, no destructor unwinds into its caller.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use crate::error::cut_panic;
use crate::run::Unwind;

thread_local! {
    static WATCHING: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Remembers where this thread panics, for as long as it is held.
#[derive(Debug)]
pub struct Watch {
    /// Where an outer watch's panic was, which may be under way.
    outer: Option<String>,
}

/// Begins to remember where this thread panics. Held around a `catch_unwind`; [`take_location`] is called before it is
/// dropped. Watches may be nested.
pub fn watch() -> Watch {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // A thread that is ending has no place to remember: then it is not remembered.
            let is_watched = WATCHING.try_with(|watching| watching.get() > 0) == Ok(true);
            if is_watched && let Some(at) = panic.location() {
                let _ = PLACE.try_with(|place| place.replace(Some(at.to_string())));
            }
            if !(is_watched && QUIET.try_with(Cell::get) == Ok(true)) {
                before(panic);
            }
        }));
    });
    WATCHING.with(|watching| watching.set(watching.get() + 1));
    Watch { outer: PLACE.with(RefCell::take) }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = WATCHING.try_with(|watching| watching.set(watching.get() - 1));
        let outer = self.outer.take();
        let _ = PLACE.try_with(|place| place.replace(outer));
    }
}

/// For tests that make user code panic again and again: what this thread says of panics that are watched is not printed, as
/// it is recorded anyway.
pub fn keep_quiet(quiet: bool) {
    QUIET.with(|is_quiet| is_quiet.set(quiet));
}

/// Where this thread last panicked while it was watched (`src/x.rs:12:5`); forgotten once it is told. `None` also for what
/// unwinds without a panic (`resume_unwind`).
pub fn take_location() -> Option<String> {
    PLACE.with(RefCell::take)
}

/// A panic's message and, if this thread was watched, its place: `no such page at src/x.rs:12:5`. A long message is cut. What
/// the panic carried is dropped here, whatever its destructor does.
pub fn describe(panic: Box<dyn Any + Send>) -> String {
    let place = take_location();
    let message = match panic.downcast::<String>() {
        Ok(message) => cut_panic(*message),
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(message) => cut_panic((*message).to_owned()),
            Err(panic) => {
                discard(panic);
                "(a panic without a message)".to_owned()
            }
        },
    };
    match place {
        Some(place) => format!("{message} at {place}"),
        None => message,
    }
}

/// Runs code of the user's. A panic in it goes no further: `Err` says what it said. What the engine itself unwinds with goes on.
///
/// # Errors
/// The panic's message and place.
pub fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    let _watch = watch();
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        if panic.is::<Unwind>() {
            resume_unwind(panic);
        }
        describe(panic)
    })
}

/// Drops a value of the user's. A panic in its destructor goes no further.
///
/// # Errors
/// The panic's message and place.
pub fn drop_caught<T>(value: T) -> Result<(), String> {
    let _watch = watch();
    catch_unwind(AssertUnwindSafe(|| drop(value))).map_err(describe)
}

/// As [`drop_caught`], where nobody is to be told but this program's own log (`tracing`).
pub fn drop_quietly<T>(value: T) {
    if let Err(why) = drop_caught(value) {
        // Whoever listens may panic in turn.
        let _ = catch(|| tracing::warn!(%why, "a destructor panicked"));
    }
}

/// How often what a panic carried may panic in turn when it is dropped, before it is left in memory for good: 8 times, where
/// each but the first takes malice.
const DISCARDS_MAX: u32 = 8;

/// Drops what a panic carried: its destructor may panic, and what that carries may do so, too.
pub fn discard(mut panic: Box<dyn Any + Send>) {
    for _ in 0..DISCARDS_MAX {
        let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(panic))) else { return };
        panic = next;
    }
    std::mem::forget(panic);
}

/// Holds a value of the user's, and drops it as [`drop_quietly`] does.
#[derive(Debug)]
pub struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    /// Holds it.
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// What it holds.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// What it holds, to be changed.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }

    /// Takes it out.
    pub fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_quietly(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    fn caught(code: impl FnOnce()) -> String {
        describe(catch_unwind(AssertUnwindSafe(code)).unwrap_err())
    }

    /// Panics when it is dropped, with another of its kind, so many times.
    struct Again(u32);

    impl Drop for Again {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Again(self.0 - 1));
            }
        }
    }

    #[test]
    fn what_a_panic_carries_may_panic_again_and_again() {
        for times in [1, 3, 1000] {
            assert_eq!(caught(|| panic_any(Again(times))), "(a panic without a message)");
            let why = drop_caught(Again(times)).unwrap_err();
            assert!(why.starts_with("(a panic without a message) at "), "{why}");
            drop_quietly(Contained::new(Again(times)));
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let message = caught(|| panic!("{}", "ä".repeat(1 << 20)));
        assert!(message.len() < 70_000 && message.contains("(cut:"), "{}", message.len());
    }

    #[test]
    fn a_watched_panic_says_where_it_was() {
        let _watch = watch();
        let (line, message) = (line!(), caught(|| panic!("no such page {}", 7)));
        assert!(message.starts_with(&format!("no such page 7 at {}:{line}:", file!())), "{message}");
        assert_eq!(take_location(), None);
    }

    #[test]
    fn places_are_not_mixed_up() {
        assert_eq!(caught(|| panic!("unwatched")), "unwatched");
        let outer = watch();
        {
            let _inner = watch();
            caught(|| panic!("inner"));
        }
        assert!(caught(|| panic!("outer")).starts_with("outer at "));
        assert_eq!(caught(|| resume_unwind(Box::new("thrown"))), "thrown");
        drop(outer);
        assert_eq!(caught(|| panic!("unwatched")), "unwatched");
    }
}
