//! `relive import FILE`: the runs of an export into a store.
//!
//! Invariant: a file that is no whole export, or does not fit, leaves the directory as it was.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::export::{self, Imported};
use relive_engine::schema::{SCHEMA, opening_error};
use relive_storage::{RocksReader, RocksStore};
use serde::Serialize;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::look::WARN;
use crate::text::{counted, escaped};

/// Read an exported run into a directory, and create that if it is not there
///
/// The whole file is checked first, and that nothing in the directory is in its way. Runs keep their ids. One that is
/// unfinished does not go on by itself: it waits until `relive resume` or your program resumes it. No engine may have the
/// directory open.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// What `relive export` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What was read, for programs.
#[derive(Serialize)]
struct Line {
    run: String,
    runs: u64,
    events: u64,
    present: u64,
    parked: Vec<String>,
    redacted: Vec<String>,
    foreign_redaction_key: bool,
}

impl Import {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let place = escaped(&self.file.display().to_string());
        let opened = File::open(&self.file).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory")),
            false => Ok(file),
        });
        let file = opened.map_err(|error| {
            Error::new(ErrorKind::Storage, format!("{place} cannot be read: {error}")).caused_by(error)
        })?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let named = |error: Error| Error::new(error.kind(), format!("{place}: {error}"));
        let checked = export::check(&mut file).map_err(named)?;
        let store = RocksStore::open(context.directory, &SCHEMA)
            .map_err(|error| opening_error(error, || RocksReader::open(context.directory, u32::MAX)))?;
        let imported = checked.into_store(&store).map_err(named)?;
        if context.json {
            json::line(context.out, &line(imported))?;
        } else {
            tell(&imported, context)?;
        }
        Ok(Status::Success)
    }
}

fn line(imported: Imported) -> Line {
    Line {
        run: imported.run.to_string(),
        runs: imported.run_count,
        events: imported.event_count,
        present: imported.present_count,
        parked: imported.parked.iter().map(ToString::to_string).collect(),
        redacted: imported.redacted,
        foreign_redaction_key: imported.foreign_redaction_key,
    }
}

fn tell(imported: &Imported, context: &mut Context<'_>) -> Result<(), Failure> {
    let Context { out, look, directory, .. } = context;
    let (runs, events) = (counted(imported.run_count, "run"), counted(imported.event_count, "event"));
    let place = escaped(&directory.display().to_string());
    writeln!(out, "run {} is in {place}: {runs}, {events}", imported.run)?;
    if imported.present_count > 0 {
        writeln!(out, "  {} of them there already, the same", counted(imported.present_count, "run"))?;
    }
    for run in &imported.parked {
        writeln!(out, "  {} run {run} is unfinished and waits: relive resume {run}", look.paint(WARN, "parked:"))?;
    }
    if !imported.redacted.is_empty() {
        let fields = escaped(&imported.redacted.join(", "));
        writeln!(out, "  {} {fields}: these runs may not replay", look.paint(WARN, "redacted:"))?;
    }
    if imported.foreign_redaction_key {
        let why = "calls with redacted arguments were made in a store with another key, and do not replay in this one";
        writeln!(out, "  {} {why}; import into an empty directory", look.paint(WARN, "note:"))?;
    }
    Ok(())
}
