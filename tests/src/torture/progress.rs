//! How far a part is, and how long it takes yet: a line for whoever waits.
//!
//! Filled by the parts, shown by the `torture` binary.
//!
//! Invariant: what is left is reckoned from what was done so far; nothing is decided by it.

use std::fmt;
use std::time::{Duration, Instant};

use super::life::now;

/// How often a line is said where nobody looks at a terminal: every minute, so that a log of hours stays short.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// How far a part is.
#[derive(Clone, Debug)]
pub struct Progress {
    began: Instant,
    said: Instant,
}

impl Default for Progress {
    /// It begins.
    fn default() -> Self {
        let began = now();
        Self { began, said: began }
    }
}

impl Progress {
    /// What to show of so much done, if it is all to come to so much; of a part that is done by time, how much that is.
    pub fn line(&self, done: u64, all: Option<u64>, words: &impl fmt::Display) -> String {
        let passed = now().saturating_duration_since(self.began);
        match all {
            Some(all) if done > 0 && all > done => {
                let left = passed.mul_f64((all - done) as f64 / done as f64);
                format!("{words}; {done} of {all}, {} passed, about {} left", Minutes(passed), Minutes(left))
            }
            _ => format!("{words}; {} passed", Minutes(passed)),
        }
    }

    /// Whether a line is due where nobody looks at a terminal.
    pub fn is_due(&mut self) -> bool {
        let now = now();
        let is_due = now.saturating_duration_since(self.said) >= SAID_EVERY;
        if is_due {
            self.said = now;
        }
        is_due
    }
}

/// A duration as people say it.
struct Minutes(Duration);

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(f, "{}:{:02} min", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_where_it_is_known() {
        let progress = Progress::default();
        let line = progress.line(1, Some(3), &"kill");
        assert!(line.starts_with("kill; 1 of 3, 0:0") && line.ends_with(" left"), "{line}");
        assert_eq!(progress.line(0, Some(3), &"kill"), "kill; 0:00 min passed");
        assert_eq!(Minutes(Duration::from_secs(61)).to_string(), "1:01 min");
    }
}
