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
//! | `dropped` | a run whose own future is dropped after its kth poll, for every k, in this process |
//! | `oracle` | history in, violations out |
//! | `report` | what a campaign came to |
//! | `progress` | how far it is |
//!
//! Invariant: what is compared with the log never comes from the log.

mod calls;
mod campaign;
mod chance;
mod child;
mod corruption;
mod dropped;
mod laws;
mod life;
mod memory;
mod oracle;
mod pipe;
#[cfg(feature = "planted-faults")]
mod planted;
mod power;
mod program;
mod progress;
mod report;
mod task;
mod witness;

pub use calls::{CallOptions, CallReport, can_trace, errors, kills};
pub use campaign::{Cut, Extent, Options, Sabotage, Tamper, run};
pub use child::{ChildOptions, child};
pub use corruption::{CorruptionOptions, CorruptionReport, corruption};
pub use dropped::{DropReport, dropped};
pub use laws::laws;
pub use oracle::{History, Life, RunExpectation, Verdict, Violation, check};
pub use pipe::{AcknowledgedLine, Line};
#[cfg(feature = "planted-faults")]
pub use planted::{Found, planted};
pub use power::can_cut_power;
pub use program::Program;
pub use progress::Progress;
pub use report::Report;
pub use task::{Input, torture_run};
pub use witness::{Witness, WitnessLine};
