//! The `relive` command, as a library: lists runs, draws their timelines, prints their logs.
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
//! | `find` | which run is meant |
//! | `runs`, `show`, `log`, `export`, `import`, `verify` | a command each |
//! | `find`, `filter` | which run is meant, which runs |
//! | `runs`, `show`, `log`, `export`, `import`, `replay`, `check`, `diff` | a command each |
//! | `program` | the code that runs are replayed against |
//! | `runs`, `show`, `log`, `step`, `export`, `import` | a command each |
//! | `json` | lines of JSON, and the names in them |
//! | `call`, `words`, `time`, `text`, `look` | calls, words for events, moments, text that fits, colours and width |
//! | `failure` | why a command failed |

mod args;
mod call;
mod check;
mod command;
mod context;
mod diff;
mod export;
mod failure;
mod filter;
mod find;
mod import;
mod json;
mod log;
mod look;
mod program;
mod replay;
mod runs;
mod show;
mod step;
mod text;
mod time;
mod verify;
mod words;

pub use command::{Cli, main};
pub use failure::Failure;
pub use look::WIDTH_DEFAULT;
pub use show::{ShowOptions, show};
