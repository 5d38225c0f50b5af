//! The engine's socket: how commands reach an engine that has a directory open.
//!
//! `protocol` is what is said, `place` where the socket is, `server` listens for as long as the engine is open, `client` asks, and
//! `perform` does what was asked, for the server and for whoever opens the directory for one command.
//!
//! Invariants: who may use the directory may use the socket, and nobody else; what is read is bounded in length, number and
//! time; an engine opens also where there can be no socket.

#[cfg(unix)]
mod client;
#[cfg(not(unix))]
mod nowhere;
mod perform;
#[cfg(unix)]
mod place;
mod protocol;
#[cfg(unix)]
mod server;

#[cfg(unix)]
pub use client::Client;
#[cfg(not(unix))]
pub use nowhere::Client;
pub use perform::perform;
pub use protocol::{Command, EvictWhat, Given};

#[cfg(not(unix))]
pub(crate) use nowhere::Listener;
#[cfg(unix)]
pub(crate) use server::Listener;
