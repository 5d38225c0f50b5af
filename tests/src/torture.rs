//! The kill -9 campaign: a child runs many tasks at once, is killed at random moments, and starts again until all are done.
//!
//! | | |
//! |---|---|
//! | `program` | what a task does, drawn from a seed, and the result it must have |
//! | `task` | the task, and its effects, which tell the witness |
//! | `witness` | a file outside the store: which effect began, when |
//! | `pipe` | what the child tells its parent: acknowledged events, ids, results |
//! | `child` | the process that is killed |
//! | `campaign` | the process that kills, and gathers what there is to compare |
//! | `oracle` | history in, violations out |
//! | `report` | what a campaign came to |
//!
//! Invariant: what is compared with the log never comes from the log.

mod campaign;
mod chance;
mod child;
mod oracle;
mod pipe;
mod program;
mod report;
mod task;
mod witness;

pub use campaign::{Extent, Options, Sabotage, Tamper, run};
pub use child::{ChildOptions, child};
pub use oracle::{History, Life, RunExpectation, Verdict, Violation, check};
pub use pipe::{AcknowledgedLine, Line};
pub use program::Program;
pub use report::Report;
pub use task::{Input, torture_run};
pub use witness::{Witness, WitnessLine};
