//! Where user code panicked: remembered by a hook, so that the record can say it.
//!
//! The hook is set once for the process and calls the one before it, so what is printed stays the same. It remembers
//! places only on threads that [`watch`] at that moment, and only one each. Tests may have it say nothing of those.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static WATCHING: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Remembers where this thread panics, for as long as it is held.
#[derive(Debug)]
pub struct Watch(());

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
    PLACE.with(|place| place.replace(None));
    Watch(())
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = WATCHING.try_with(|watching| watching.set(watching.get() - 1));
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

/// A panic's message and, if this thread was watched, its place: `no such page at src/x.rs:12:5`.
pub fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = message.unwrap_or_else(|| "(a panic without a message)".to_owned());
    match take_location() {
        Some(place) => format!("{message} at {place}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;

    fn caught(code: impl FnOnce()) -> String {
        describe(catch_unwind(AssertUnwindSafe(code)).unwrap_err().as_ref())
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
