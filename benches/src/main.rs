//! The benchmark's command line: which parts to measure, where, and how long.
//!
//! Progress goes to stderr; the table, and the line of JSON as the last, to stdout.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, ValueEnum};
use relive::RunId;
use relive_benches::{Failure, Figure, Others, Part, Setting, Sizes, json_line, peers, table};

/// As programs have it that care for speed; with `--no-default-features` the system's is measured.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From a quarter of a processor on, other programs show in the figures.
const OTHERS_CORES_MAX: f64 = 0.25;

/// Measures what Relive costs, side by side with the disk and with RocksDB alone.
#[derive(Debug, Parser)]
#[command(name = "relive-benches", version)]
struct Arguments {
    /// A few seconds instead of a minute: shows that all parts work; its figures say little
    #[arg(long)]
    quick: bool,
    /// Measure only this part; may be given more than once
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Write below this directory: its file system is what is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Threads of the runtime that runs the tasks
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// The program that measures other engines (built from benches/peers): compares with them, too
    #[arg(long, value_name = "PROGRAM")]
    peers: Option<PathBuf>,
    /// How large `--only growth` lets a store get, in GB (10⁹ bytes on the disk)
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    gigabytes: u16,
    /// How many bytes the traces return that fill it
    #[arg(long, value_name = "BYTES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    payload: u32,
    /// Measure this part in this process, and print its figures as JSON; for the benchmark's own use
    #[arg(long, value_name = "PART", hide = true)]
    here: Option<Part>,
    /// Make one result in the store in --dir; for the benchmark's own use
    #[arg(long, hide = true)]
    first: bool,
    /// Replay this run of the store in --dir; for the benchmark's own use
    #[arg(long, value_name = "RUN", hide = true)]
    replay: Option<RunId>,
    /// Keep so many runs under way in the store in --dir, until killed; for the benchmark's own use
    #[arg(long, value_name = "COUNT", hide = true)]
    load: Option<u32>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to say it to if stderr is closed.
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.first {
        return relive_benches::first(&arguments.dir, || {
            let mut out = std::io::stdout();
            writeln!(out)?;
            out.flush()
        });
    }
    if let Some(run) = arguments.replay {
        writeln!(std::io::stdout(), "{}", relive_benches::replay(&arguments.dir, run)?)?;
        return Ok(());
    }
    if let Some(runs_at_once) = arguments.load {
        return relive_benches::load(&arguments.dir, arguments.workers.into(), runs_at_once);
    }
    let setting = Setting {
        directory: arguments.dir.clone(),
        worker_count: arguments.workers.into(),
        sizes: if arguments.quick { Sizes::quick() } else { Sizes::full() },
        gigabytes: arguments.gigabytes.into(),
        payload_bytes: arguments.payload as usize,
    };
    if let Some(part) = arguments.here {
        let figures = part.measure(&setting)?;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&figures)?)?;
        return Ok(());
    }
    let mut progress = std::io::stderr();
    if cfg!(debug_assertions) {
        writeln!(progress, "bench: built without optimisation, so the figures say nothing: use cargo run --release")?;
    }
    let others = Others::watch();
    let mut figures = Vec::new();
    let chosen = &arguments.only;
    let is_chosen = |part: &Part| chosen.contains(part) || chosen.is_empty() && *part != Part::Growth;
    let parts: Vec<_> = Part::ALL.into_iter().chain([Part::Growth]).filter(is_chosen).collect();
    // Right behind what they are compared with: a machine changes its pace from one minute to the next.
    let before_peers = parts.iter().position(|part| *part == Part::Throughput).map_or(parts.len(), |at| at + 1);
    let (before, after) = parts.split_at(before_peers);
    let measure = |figures: &mut Vec<Figure>, parts: &[Part]| -> Result<(), Failure> {
        for part in parts {
            writeln!(std::io::stderr(), "bench: {part:?} …")?;
            figures.extend(elsewhere(*part, arguments).map_err(|error| format!("{part:?}: {error}"))?);
        }
        Ok(())
    };
    measure(&mut figures, before)?;
    let compared = match &arguments.peers {
        Some(program) => {
            peers::announce()?;
            peers::compare(program, &setting, &figures)?
        }
        None if chosen.is_empty() => peers::absent("not measured without --peers"),
        None => Vec::new(),
    };
    measure(&mut figures, after)?;
    figures.extend(compared);
    if chosen.is_empty() {
        figures.extend(relive_benches::not_measured());
    }
    if let Some(core_count) = others.and_then(|others| others.core_count()) {
        figures.push(Figure::new("others_cores", "processors that were busy with other programs", core_count));
        if core_count > OTHERS_CORES_MAX {
            writeln!(
                progress,
                "bench: other programs kept {core_count:.1} processors busy: the figures are disturbed"
            )?;
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{}", table(&figures), json_line(&figures))?;
    Ok(())
}

/// Measures a part in a process of its own, so that no part has what another left: memory, caches, threads.
fn elsewhere(part: Part, arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--here", &name, "--workers", &arguments.workers.to_string()]);
    command.args(["--gigabytes", &arguments.gigabytes.to_string(), "--payload", &arguments.payload.to_string()]);
    if arguments.quick {
        command.arg("--quick");
    }
    // What it tells on the way, and why it fails, it says itself.
    let output = command.arg("--dir").arg(&arguments.dir).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the process that measures it failed ({})", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
