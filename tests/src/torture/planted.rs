//! Plants each fault in turn, and sees that a part of the campaign finds it.
//!
//! Called by the `torture` binary, which is called again for each part, with the fault's name in its environment.
//!
//! Invariant: what finds a fault finds nothing without one.

use std::path::Path;
use std::process::{Command, Stdio};

use relive::Error;
use relive_storage::planted::{Planted, VARIABLE};

/// The parts, the quickest first: a fault is looked for until one finds it.
const PARTS: [(&str, &[&str]); 6] = [
    ("laws", &["laws"]),
    ("power, in memory", &["power", "--in-memory", "--kills", "20", "--jobs", "1", "--runs", "20"]),
    ("kill", &["kill", "--kills", "60", "--jobs", "1"]),
    ("power", &["power", "--kills", "10", "--jobs", "1"]),
    ("errors", &["errors", "--every", "15"]),
    ("corruption", &["corruption", "--log-every", "4999", "--others", "1", "--run-every", "9", "--hang", "60"]),
];

/// What found a fault.
#[derive(Clone, Debug)]
pub struct Found {
    /// The fault; `None` for no fault.
    pub fault: Option<Planted>,
    /// The part that found it, and its last words; `None` if none did.
    pub part: Option<(&'static str, String)>,
}

impl Found {
    /// Whether it is as it must be: a fault is found, and nothing is where there is none.
    pub fn is_right(&self) -> bool {
        self.fault.is_some() == self.part.is_some()
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fault = self.fault.map_or_else(|| "(none)".to_owned(), |fault| format!("{fault:?}"));
        match &self.part {
            Some((part, words)) => write!(f, "| {fault} | {part} | {words} |"),
            None => write!(f, "| {fault} | none | |"),
        }
    }
}

/// Plants no fault, then each. `told` hears of each result.
///
/// # Errors
/// If a part cannot be started.
pub fn planted(
    program: &Path,
    seed: u64,
    only: Option<&str>,
    mut told: impl FnMut(&Found),
) -> relive::Result<Vec<Found>> {
    let all = std::iter::once(None).chain(Planted::ALL.into_iter().map(Some));
    let chosen = all.filter(|fault| only.is_none_or(|only| fault.is_some_and(|fault| format!("{fault:?}") == only)));
    chosen
        .map(|fault| {
            let mut part = None;
            for (name, arguments) in PARTS {
                if let Some(words) = words_of(program, seed, fault, arguments)? {
                    part = Some((name, words));
                    break;
                }
            }
            let found = Found { fault, part };
            told(&found);
            Ok(found)
        })
        .collect()
}

/// The last words of a part that found something; `None` if it found nothing.
fn words_of(program: &Path, seed: u64, fault: Option<Planted>, arguments: &[&str]) -> relive::Result<Option<String>> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--seed").arg(seed.to_string()).arg("--dir").arg(directory.path());
    command.stdin(Stdio::null()).stderr(Stdio::null()).env_remove(VARIABLE);
    if let Some(fault) = fault {
        command.env(VARIABLE, format!("{fault:?}"));
    }
    let output = command
        .output()
        .map_err(|error| Error::msg(format!("{}: cannot be started", program.display())).caused_by(error))?;
    if output.status.success() {
        return Ok(None);
    }
    let words = String::from_utf8_lossy(&output.stdout);
    let first = words.lines().find(|line| line.contains("violation: ")).unwrap_or_default();
    let last = words.lines().last().unwrap_or_default();
    let short: String = first.chars().take(160).collect();
    Ok(Some(format!("{last}; {short}").replace('|', "/")))
}
