//! Other engines beside Relive: a program of its own (`benches/peers`) measures them, in the same run and place.
//!
//! Not a part of the benchmark by itself: what it measures is compared with what `sequential` and `throughput` found.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Bound, Failure, Figure, Setting};

/// What a peer is compared with, and the names of its figures.
struct Compared {
    peer: &'static str,
    throughput_ratio: &'static str,
    throughput: &'static str,
    sequential: &'static str,
}

const PEERS: [Compared; 3] = [
    Compared {
        peer: "memable",
        throughput_ratio: "vs_memable",
        throughput: "memable_steps_per_s",
        sequential: "memable_step_us",
    },
    Compared {
        peer: "durare",
        throughput_ratio: "vs_durare",
        throughput: "durare_steps_per_s",
        sequential: "durare_step_us",
    },
    Compared {
        peer: "duroxide",
        throughput_ratio: "vs_duroxide",
        throughput: "duroxide_steps_per_s",
        sequential: "duroxide_step_us",
    },
];

/// How many times the throughput of each peer ours should be.
const RATIO_MIN: f64 = 40.0;

/// Steps in sequence that are measured of a peer.
const STEPS: u32 = 200;

/// Measures the peers by this program, and compares them with what was measured of Relive.
///
/// # Errors
/// If the program cannot be started. A peer that fails is said to have, by its figures.
pub fn compare(program: &Path, setting: &Setting, figures: &[Figure]) -> Result<Vec<Figure>, Failure> {
    let output = Command::new(program)
        .arg("--dir")
        .arg(&setting.directory)
        .args(["--steps", &STEPS.to_string(), "--runs", &setting.sizes.runs_at_once.to_string()])
        // One of them prints a log else.
        .env("RUST_LOG", "off")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let measured: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ours = figures.iter().find(|figure| figure.key == "throughput_traces_per_s").map(|figure| figure.value);
    let of_peer = |compared: &Compared| {
        let line = measured.iter().find(|line| line["peer"] == compared.peer);
        of_line(compared, line, ours, setting.sizes.runs_at_once)
    };
    Ok(PEERS.iter().flat_map(of_peer).collect())
}

/// That the peers were not measured, by their figures.
pub fn absent(why: &str) -> Vec<Figure> {
    PEERS
        .iter()
        .map(|compared| Figure::absent(compared.throughput_ratio, format!("Relive / {}: {why}", compared.peer)))
        .collect()
}

fn of_line(compared: &Compared, line: Option<&Value>, ours: Option<f64>, runs: u32) -> Vec<Figure> {
    let peer = compared.peer;
    let number = |line: &Value, key: &str| line[key].as_f64().filter(|value| *value > 0.0);
    let rates = line.and_then(|line| {
        let text = |key: &str| line[key].as_str().unwrap_or("?").to_owned();
        Some((
            number(line, "throughput_steps_per_s")?,
            number(line, "sequential_us")?,
            text("version"),
            text("durability"),
        ))
    });
    let Some((throughput, sequential, version, durability)) = rates else {
        return vec![Figure::absent(compared.throughput_ratio, format!("Relive / {peer}: {peer} failed"))];
    };
    let what = format!("{peer} {version}: durable steps per s, {runs} runs of 10 at once");
    let ratio = match ours {
        Some(ours) => Figure::new(compared.throughput_ratio, format!("Relive / {peer}"), ours / throughput)
            .bound(Bound::AtLeast(RATIO_MIN)),
        None => Figure::absent(compared.throughput_ratio, format!("Relive / {peer}: Relive was not measured")),
    };
    vec![
        Figure::new(compared.throughput, what, throughput),
        Figure::new(compared.sequential, format!("  one step after another, µs; {durability}"), sequential),
        ratio,
    ]
}

/// Says on stderr that the peers come next: they take as long as all the rest.
pub fn announce() -> std::io::Result<()> {
    writeln!(std::io::stderr(), "bench: Peers …")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_compared_or_said_to_have_failed() {
        let line = serde_json::json!({
            "peer": "memable", "version": "0.1.5", "durability": "synced", "sequential_us": 250.0,
            "throughput_steps_per_s": 2000.0,
        });
        let figures = of_line(&PEERS[0], Some(&line), Some(100_000.0), 1000);
        let values: Vec<_> = figures.iter().map(|figure| (figure.key.as_ref(), figure.value)).collect();
        assert_eq!(values, [("memable_steps_per_s", 2000.0), ("memable_step_us", 250.0), ("vs_memable", 50.0)]);
        let failed = of_line(&PEERS[0], None, Some(1.0), 1000);
        assert!(failed.len() == 1 && failed[0].value.is_nan() && failed[0].what.contains("failed"));
    }
}
