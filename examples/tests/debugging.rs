//! The transcript in docs/debugging.md is what the commands print: a demo that was killed, looked at by each of them.
//!
//! Every command of the page's fences `console demo` is run, in their order, and its output compared with what stands there; ids,
//! moments, durations and sizes may differ. `UPDATE_DOCS=1 cargo test -p relive-examples --test debugging` writes down what the
//! commands print now.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use tempfile::TempDir;

const FENCE: &str = "```console demo";

/// A place that is the same on every machine, for what is printed of the temporary directory.
const SHOWN_AS: &str = "/home/you";

/// What a command printed, and how it ended.
struct Printed {
    text: String,
    status: i32,
}

/// The directory in which the commands of the page are run.
struct Place {
    directory: TempDir,
    /// What stands for ids in commands: `$RUN`, `$FORK`.
    variables: Vec<(String, String)>,
}

impl Place {
    /// After `demo notes --hits 1 --data demo`: a run that was killed and went on.
    fn with_a_killed_run() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let notes = directory.path().join("notes");
        fs::create_dir(&notes).unwrap();
        let text = "# Atomic counters\n\nA counter with relaxed ordering counts, and orders nothing else.\n\
                    Who frees memory when a counter reaches zero needs an acquire ordering before that.\n";
        fs::write(notes.join("counters.md"), text).unwrap();
        let mut place = Self { directory, variables: Vec::new() };
        let demo = place.program(&["notes", "--hits", "1", "--data", "demo"]);
        assert_eq!(demo.status, 0, "{}", demo.text);
        let runs = place.program(&["relive", "--dir", "demo/store", "runs", "--json"]);
        place.learn("RUN", &runs.text);
        place
    }

    /// Remembers the id of the first run in lines of JSON.
    fn learn(&mut self, name: &str, json: &str) {
        let line = json.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no run in {json:?}"));
        let run: serde_json::Value = serde_json::from_str(line).unwrap();
        self.variables.push((format!("${name}"), run["run"].as_str().unwrap().to_owned()));
    }

    fn program(&self, arguments: &[&str]) -> Printed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("TZ", "UTC").env("COLUMNS", "100").env("NO_COLOR", "1").env_remove("RELIVE_DIR");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        let place = self.directory.path().canonicalize().unwrap();
        Printed { text: text.replace(place.to_str().unwrap(), SHOWN_AS), status: output.status.code().unwrap_or(-1) }
    }

    /// Runs a line of the page: `$ relive …`.
    fn line(&mut self, line: &str) -> Printed {
        let mut words = words(line);
        for word in &mut words {
            for (variable, value) in &self.variables {
                *word = word.replace(variable, value);
            }
        }
        assert_eq!(words.first().map(String::as_str), Some("relive"), "{line}");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let printed = self.program(&words);
        if words.get(1..).is_some_and(|words| words.contains(&"fork") && !words.contains(&"--dry")) {
            let of = self.variables[0].1.clone();
            let fork =
                ids(&printed.text).into_iter().find(|id| *id != of).unwrap_or_else(|| panic!("{}", printed.text));
            self.variables.push(("$FORK".to_owned(), fork));
        }
        printed
    }
}

/// The words of a command line; what stands in single quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => match words.last_mut() {
                // `--set name='…'` is one word.
                Some(last) if last.ends_with('=') => last.push_str(part),
                _ => words.push(part.to_owned()),
            },
        }
    }
    words
}

fn ids(text: &str) -> Vec<String> {
    Regex::new(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b").unwrap().find_iter(text).map(|id| id.as_str().to_owned()).collect()
}

/// A text without what differs from run to run: ids, hashes, moments, durations, sizes, bars and the blanks between columns.
fn settled(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        (r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b", "RUN"),
        (r"\b[0-9a-f]{16,64}\b", "HASH"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( \+00:00|Z)?", "MOMENT"),
        (r"\b\d\d:\d\d:\d\d\.\d+", "MOMENT"),
        (r"\b[\d.,]+ (µs|ms|s|min)\b", "DURATION"),
        (r"\b[\d,.]+ (bytes|B|KiB)\b", "SIZE"),
        (r"\b\d{7,}\b", "NUMBER"),
        (r"[█▒░╌▏▎▍▌▋▊▉┊─]+", ""),
        (r"e\d+\b", "LIFE"),
        (r"(replayed|executed)", "RAN"),
        (r" +", " "),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/debugging.md")
}

#[test]
fn the_page_shows_what_the_commands_print() {
    let page = page();
    let text = fs::read_to_string(&page).unwrap();
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let mut place = Place::with_a_killed_run();
    let (mut written, mut lines, mut commands) = (String::new(), text.lines().peekable(), 0);
    while let Some(line) = lines.next() {
        written.push_str(line);
        written.push('\n');
        if line != FENCE {
            continue;
        }
        while let Some(command) = lines.next_if(|line| *line != "```") {
            let shown = command.strip_prefix("$ ").unwrap_or_else(|| panic!("not a command: {command}"));
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
                expected.push(line);
            }
            let printed = place.line(shown);
            assert!(matches!(printed.status, 0 | 3), "{shown}: {}", printed.text);
            if !update {
                assert_eq!(
                    settled(&expected.join("\n")),
                    settled(printed.text.trim_end()),
                    "{shown}\n{}",
                    printed.text
                );
            }
            commands += 1;
            written.push_str(&format!("{command}\n{}\n", printed.text.trim_end()));
        }
    }
    assert!(commands > 3, "the page has no transcript");
    if update {
        fs::write(page, written).unwrap();
    }
}
