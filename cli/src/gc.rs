//! `relive gc`: deletes finished runs.

use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use relive::live::Command;
use relive_engine::clock::{Clock as _, SystemClock};

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::text::counted;

/// Delete finished runs, with their logs and all that is stored of them
///
/// Never a run that an unfinished one called; children go with those that called them. Cached results stay. What is deleted is
/// gone: `--dry` says beforehand how many that would be, `relive export` keeps a run in a file. The space on the disk comes
/// back before this returns. It counts no `keep` of tasks or of the engine, which deletes by itself what these do not keep.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").args(["older_than", "keep"]).multiple(true).required(true)))]
pub(crate) struct Gc {
    /// Those that ended so long ago: 30d, 12h, 90m, 30s, 2w
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Keep so many of the newest of each task; children are not counted, and stay with the runs that called them
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
    /// Only those that ended so (may be repeated)
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<Ended>,
    /// Only those of this task
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Only say how many would go
    #[arg(long)]
    dry: bool,
}

/// How a run can have ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ended {
    Completed,
    Failed,
    Cancelled,
}

/// A number and its unit.
fn age(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err("an age is a number and s, m, h, d or w, as in 30d".to_owned()),
    };
    let number = text[..text.len() - unit.len()].parse::<u64>().ok();
    let seconds =
        number.and_then(|number| number.checked_mul(seconds)).filter(|seconds| *seconds < u64::MAX / 2_000_000);
    seconds.map(Duration::from_secs).ok_or_else(|| "that is no age".to_owned())
}

impl Gc {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        // That there is a store, before a directory is opened to write.
        drop(context.store()?);
        let now = SystemClock::default().now().0;
        let micros = |age: Duration| i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let word = |ended: &Ended| match ended {
            Ended::Completed => "completed".to_owned(),
            Ended::Failed => "failed".to_owned(),
            Ended::Cancelled => "cancelled".to_owned(),
        };
        let reply = context.ask(&Command::Gc {
            finished_before: self.older_than.map(|age| now.saturating_sub(micros(age))),
            keep: self.keep.unwrap_or(0),
            states: self.status.iter().map(word).collect(),
            task: self.task.clone(),
            dry: self.dry,
        })?;
        if context.json {
            json::line(context.out, &reply)?;
            return Ok(Status::Success);
        }
        let number = |field: &str| reply[field].as_u64().unwrap_or(0);
        let (deleted, kept) = (counted(number("deleted"), "run"), counted(number("kept"), "run"));
        let verb = if self.dry { "would be deleted" } else { "deleted" };
        writeln!(context.out, "{deleted} {verb}, {kept} kept")?;
        if number("needed") > 0 {
            let needed = counted(number("needed"), "run");
            writeln!(context.out, "  of those, {needed} only because unfinished runs called them")?;
        }
        if number("with_callers") > 0 {
            let children = counted(number("with_callers"), "run");
            writeln!(context.out, "  of those, {children} only because what called them stays")?;
        }
        Ok(Status::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_its_unit() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("0s"), Ok(Duration::ZERO));
        for bad in ["", "d", "30", "-1d", "1y", "1.5h", "99999999999999999999d", "9999999999999999w"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
