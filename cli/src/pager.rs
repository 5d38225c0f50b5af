//! Long output on a terminal goes through a pager, as git's does.
//!
//! Invariant: without a terminal, or if the pager cannot be started, output goes where it goes without one.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Which pager: `PAGER`, else `less`. `None` if `PAGER` is empty or `cat`.
fn chosen(pager: Option<String>) -> Option<String> {
    match pager {
        None => Some("less".to_owned()),
        Some(pager) => Some(pager).filter(|pager| !pager.trim().is_empty() && pager.trim() != "cat"),
    }
}

/// A pager that shows what is written to it.
pub(crate) struct Pager {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Pager {
    /// `None` if there is none to be used.
    pub(crate) fn start() -> Option<Self> {
        let pager = chosen(std::env::var("PAGER").ok())?;
        // By a shell, as it may have arguments.
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec {pager}")).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            // Ends by itself if all fits the screen; colours; the screen is left as it was.
            command.env("LESS", "FRX");
        }
        let mut child = command.spawn().ok()?;
        let stdin = child.stdin.take()?;
        Some(Self { child, stdin: Some(stdin) })
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stdin.as_mut().map_or(Ok(bytes.len()), |stdin| stdin.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        // The end of the output, which it waits for; then its user reads for as long as they like.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_the_users_or_none() {
        let chosen = |pager: &str| chosen(Some(pager.to_owned()));
        assert_eq!(chosen("most -s"), Some("most -s".to_owned()));
        assert_eq!((chosen(""), chosen(" "), chosen("cat")), (None, None, None));
        assert_eq!(super::chosen(None), Some("less".to_owned()));
    }
}
