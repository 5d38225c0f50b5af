//! Ends the process if a case hangs, and says which: a thread that reads for ever cannot be ended otherwise.
//!
//! Used by `corruption`.
//!
//! Invariant: at most one case is under way.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// What the exit status is after a hang.
const HANGS: i32 = 4;

/// Watches cases.
#[derive(Debug)]
pub(super) struct Watchdog(Sender<Option<String>>);

impl Watchdog {
    /// Watches until it is dropped; a case may take so long.
    pub(super) fn start(hang: Duration) -> Self {
        let (sender, receiver) = channel::<Option<String>>();
        std::thread::spawn(move || {
            let mut case = None;
            loop {
                let received = match &case {
                    Some(_) => receiver.recv_timeout(hang),
                    None => receiver.recv().map_err(RecvTimeoutError::from),
                };
                case = match received {
                    Ok(next) => next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => end(&case.unwrap_or_default(), hang),
                };
            }
        });
        Self(sender)
    }

    pub(super) fn begins(&self, case: String) {
        self.tell(Some(case));
    }

    pub(super) fn ends(&self) {
        self.tell(None);
    }

    fn tell(&self, case: Option<String>) {
        self.0.send(case).expect("the thread ends only with the sender");
    }
}

#[expect(clippy::print_stdout, reason = "the last words of a process that cannot go on")]
fn end(case: &str, hang: Duration) -> ! {
    println!("corruption: violation: {case}: it hangs for more than {hang:?}");
    std::process::exit(HANGS)
}
