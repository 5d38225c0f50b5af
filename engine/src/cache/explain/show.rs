//! Explanations as people read them: a sentence, or a list of reasons.
//!
//! Invariant: whatever is in a value, it is shown on one line and cut at [`EXCERPT_MAX`].

use std::fmt;

use crate::id::{CodeHash, Timestamp};
use crate::value::Value;

use super::{Entry, Explanation, Reason};

/// Longest that a value is shown, in characters.
const EXCERPT_MAX: usize = 80;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { id, run } => write!(f, "known: the id `{id}` names run {run}, so the call is that run's"),
            Self::Joined { run } => write!(f, "joined: an equal call is under way, and this one waits for run {run}"),
            Self::Hit { entry } => {
                let Entry { task, run, created_at, .. } = &**entry;
                write!(f, "hit: task {task} has a result of run {run}, found {}", Utc(*created_at))?;
                entry.expires_at.map_or(Ok(()), |at| write!(f, "; it holds until {}", Utc(at)))
            }
            Self::Miss { task, reasons } => {
                write!(f, "miss: task {task} would run")?;
                match &reasons[..] {
                    [only] => write!(f, ": {only}"),
                    several => several.iter().try_for_each(|reason| write!(f, "\n- {reason}")),
                }
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheOff => f.write_str("its cache is off"),
            Self::Refreshed => f.write_str("the call asks to run anew"),
            Self::NeverCached => f.write_str("no call of it has a result in the cache"),
            Self::OtherInput { run, argument, cached, called } => {
                let (cached, called) = (Shown(cached.as_ref()), Shown(called.as_ref()));
                write!(
                    f,
                    "only calls with other arguments have a result; in the nearest, of run {run}, `{argument}` is {cached}, \
                     and here {called}"
                )
            }
            Self::OtherVersion { cached, now } => write!(f, "the result is of {cached}, and the task now has {now}"),
            Self::OtherSalt { cached, now } => {
                write!(f, "the result was found under the salt {cached:?}, and the task now has {now:?}")
            }
            Self::TaskEdited { cached, now, run } => write!(
                f,
                "the task was edited: its code was {} when run {run} found the result, and is {}",
                Short(cached),
                Short(now)
            ),
            Self::TraceEdited { name, cached, now } => edited(f, "trace", name, cached, now),
            Self::ChildEdited { name, cached, now } => edited(f, "task", name, cached, now),
            Self::Unknown { name, is_task } => {
                let what = if *is_task { "task" } else { "trace" };
                write!(f, "the result depends on {what} {name}, which this program does not have")
            }
            Self::Signalled { run } => {
                write!(f, "run {run} of this call waited for a signal: what is answered once is not shared")
            }
            Self::OwnId { id } => {
                write!(f, "it has the id `{id}`, which names no run yet: with `.cached()` it would share a result")
            }
            Self::Expired { at } => write!(f, "the result expired {}", Utc(*at)),
            Self::Unreadable { run, why } => write!(f, "the entry of run {run} cannot be read: {why}"),
            Self::Evicted { at } => write!(f, "the result was thrown out {}", Utc(*at)),
            Self::LastRunFailed { run, error } => write!(f, "the last run of this call, {run}, failed: {error}"),
        }
    }
}

fn edited(f: &mut fmt::Formatter<'_>, what: &str, name: &str, cached: &CodeHash, now: &CodeHash) -> fmt::Result {
    let (cached, now) = (Short(cached), Short(now));
    write!(f, "{what} {name}, which the result depends on, was edited: its code was {cached} and is {now}")
}

struct Shown<'a>(Option<&'a Value>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => f.write_str(&value.excerpt(EXCERPT_MAX)),
            None => f.write_str("not there"),
        }
    }
}

/// The first eight digits of a hash: enough to tell two.
struct Short<'a>(&'a CodeHash);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes()[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A moment as people read it: `2026-01-02 03:04:05 UTC`.
struct Utc(Timestamp);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0.div_euclid(1_000_000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years are counted from a first of March, so that a leap day is a year's last.
        let from_march = days + 719_468;
        let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", era * 400 + year + next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc() {
        for (micros, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (1_767_323_045_000_000, "2026-01-02 03:04:05 UTC"),
            (951_782_400_000_000, "2000-02-29 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(Utc(Timestamp(micros)).to_string(), shown);
        }
    }

    #[test]
    fn one_reason_is_a_sentence_and_several_are_a_list() {
        let miss = |reasons| Explanation::Miss { task: "survey".to_owned(), reasons };
        assert_eq!(
            miss(vec![Reason::Expired { at: Timestamp(0) }]).to_string(),
            "miss: task survey would run: the result expired 1970-01-01 00:00:00 UTC"
        );
        let hash = |byte| CodeHash::from_bytes([byte; 16]);
        let edited = Reason::TraceEdited { name: "measure".to_owned(), cached: hash(0x1a), now: hash(0x2b) };
        assert_eq!(
            miss(vec![edited, Reason::Unknown { name: "weigh".to_owned(), is_task: false }]).to_string(),
            "miss: task survey would run\n\
             - trace measure, which the result depends on, was edited: its code was 1a1a1a1a and is 2b2b2b2b\n\
             - the result depends on trace weigh, which this program does not have"
        );
    }
}
