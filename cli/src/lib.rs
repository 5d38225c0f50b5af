//! The `relive` command, as a library: lists runs, draws their timelines, prints their logs, steps through them.
//!
//! [`main`] is all of the command, [`Cli`] that of a program whose tasks are linked in and need clients; [`show()`] draws
//! one timeline for a program that has a store at hand. What only reads may run beside an engine that has the store open.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use relive_cli::{ShowOptions, show};
//! use relive_engine::{inspect, schema};
//! use relive_storage::{Read, RocksReader};
//!
//! let reader: Arc<dyn Read> = Arc::new(RocksReader::open("./data".as_ref(), schema::SCHEMA.format)?);
//! if let Some(newest) = inspect::runs(Arc::clone(&reader)).next() {
//!     show(reader, newest?.run, &mut std::io::stdout(), ShowOptions::for_stdout())?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | | |
//! |---|---|
//! | `args` | the command line |
//! | `command` | from it to an exit status |
//! | `context` | what every command is given |
//! | `find`, `filter` | which run is meant, which runs |
//! | `runs`, `show`, `log`, `step`, `export`, `import`, `verify`, `replay`, `check`, `diff` | a command each, that only reads a store, or makes one |
//! | `resume`, `cancel`, `signal`, `fork`, `cache`, `gc`, `completions` | a command each |
//! | `program` | the code that runs are replayed against |
//! | `ask` | has the live engine do something, or opens one for it |
//! | `pager` | pages long output |
//! | `json` | lines of JSON, and the names in them |
//! | `call`, `words`, `time`, `text`, `look` | calls, words for events, moments, text that fits, colours and width |
//! | `failure` | why a command failed |

mod args;
mod ask;
mod cache;
mod call;
mod cancel;
mod check;
mod command;
mod completions;
mod context;
mod diff;
mod export;
mod failure;
mod filter;
mod find;
mod fork;
mod gc;
mod import;
mod json;
mod log;
mod look;
mod many;
mod pager;
mod program;
mod replay;
mod resume;
mod runs;
mod show;
mod signal;
mod step;
mod text;
mod time;
mod verify;
mod words;

pub use command::{Cli, main};
pub use failure::Failure;
pub use look::WIDTH_DEFAULT;
pub use show::{ShowOptions, show};
