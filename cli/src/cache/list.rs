//! `relive cache list`: the entries of the cache, task by task.
//!
//! Invariant: one page of entries is kept at a time.

use clap::Args;
use relive_engine::codec;
use relive_engine::error::{Error, storage_error};
use relive_engine::index::{CACHE, CACHE_USE, CacheRecord, CacheUse};
use relive_storage::{KeyRange, Order, PageLimit, Read, Row, after};
use serde::Serialize;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::look::{BOLD, DIM};
use crate::text::{cut, cut_display, escaped, padded, right, thousands};
use crate::time;

/// List the entries of the cache
///
/// With --json, a line per entry, with the fields key, task, input, version (of yours, or null), code, salt, bytes, created_at,
/// used_at, run, uses.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only those of this task
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Line<'a> {
    key: String,
    task: &'a str,
    input: relive::Value,
    version: Option<&'a str>,
    code: String,
    salt: &'a str,
    bytes: u64,
    created_at: String,
    used_at: String,
    run: String,
    uses: Vec<&'a str>,
}

impl List {
    pub(super) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut any = false;
        let mut range = KeyRange::all();
        loop {
            let page = store.scan(CACHE, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
            for row in &page.rows {
                let record: CacheRecord = opened(row)?;
                if left == 0 || self.task.as_ref().is_some_and(|task| *task != record.task) {
                    continue;
                }
                (left, any) = (left - 1, print(context, store.as_ref(), row, &record, any)?);
            }
            match page.rows.last() {
                Some(last) if page.more && left > 0 => range.start = after(&last.key),
                _ => break,
            }
        }
        if !any && !context.json && left > 0 {
            writeln!(context.out, "no entries")?;
        }
        Ok(Status::Success)
    }
}

fn opened<T: serde::de::DeserializeOwned>(row: &Row) -> Result<T, Failure> {
    let opened = codec::open(&row.key, &row.value);
    let (record, ..) = opened.map_err(|error| Error::new(error.kind(), format!("the cache, an entry: {error}")))?;
    Ok(record)
}

fn print(
    context: &mut Context<'_>,
    store: &dyn Read,
    row: &Row,
    record: &CacheRecord,
    any: bool,
) -> Result<bool, Failure> {
    let usage = store.get(CACHE_USE, &row.key).map_err(storage_error)?;
    let usage = usage.and_then(|bytes| codec::open::<CacheUse>(&row.key, &bytes).ok());
    let used_at = usage.map_or(record.created_at, |(usage, ..)| usage.used_at);
    let bytes = (row.key.len() + row.value.len()) as u64;
    if context.json {
        let line = Line {
            key: row.key.iter().map(|byte| format!("{byte:02x}")).collect(),
            task: &record.task,
            input: record.input.to_value(),
            version: record.version.as_deref(),
            code: record.code.to_string(),
            salt: &record.salt,
            bytes,
            created_at: time::rfc_3339(record.created_at),
            used_at: time::rfc_3339(used_at),
            run: record.run.to_string(),
            uses: record.uses.iter().map(|used| used.name.as_str()).collect(),
        };
        json::line(context.out, &line)?;
        return Ok(true);
    }
    let Context { out, look, .. } = context;
    if !any {
        let head = format!(
            "{}  {}  {:>10}  RUN                         CALL",
            padded("FOUND", 19),
            padded("USED", 19),
            "BYTES"
        );
        writeln!(out, "{}", look.paint(BOLD, head))?;
    }
    let version = record.version.as_ref().map(|version| format!(" version {}", escaped(version))).unwrap_or_default();
    let room = look.width.saturating_sub(19 + 2 + 19 + 2 + 10 + 2 + 26 + 2);
    let call = format!("{}{version} {}", escaped(&record.task), cut_display(&record.input.to_value(), room));
    writeln!(
        out,
        "{}  {}  {}  {}  {}",
        look.paint(DIM, time::to_the_second(record.created_at, &look.zone)),
        look.paint(DIM, time::to_the_second(used_at, &look.zone)),
        right(&thousands(bytes), 10),
        record.run,
        cut(&call, room.max(20)),
    )?;
    Ok(true)
}
