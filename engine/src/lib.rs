//! The engine of Relive: decides.

pub mod cache;
pub mod canonical;
pub mod clock;
pub mod codec;
pub mod commit;
pub mod definition;
pub mod divergence;
pub mod engine;
pub mod entropy;
pub mod error;
pub mod event;
mod execute;
pub mod handle;
pub mod id;
pub mod index;
pub mod inspect;
pub mod log;
pub mod options;
pub mod payload;
mod recover;
pub mod replay;
mod reserve;
pub mod run;
pub mod schema;
mod start;
pub mod value;
