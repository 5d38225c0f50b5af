//! Long output on a terminal goes through a pager, as git's does.
//!
//! Invariant: without a terminal, or if the pager cannot be run, output goes where it goes without one, all of it.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::text::escaped;

/// Which pager: `PAGER`, else `less`. `None` if `PAGER` is empty or `cat`.
fn chosen(pager: Option<String>) -> Option<String> {
    match pager {
        None => Some("less".to_owned()),
        Some(pager) => Some(pager).filter(|pager| !pager.trim().is_empty() && pager.trim() != "cat"),
    }
}

/// So much is kept for a pager that turns out not to be one: 64 KiB, what a pipe holds. Who writes more is read.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// The statuses of a shell that could not run the command: found and not executable, not found.
const NOT_RUN: [i32; 2] = [126, 127];

/// A pager that shows what is written to it.
pub(crate) struct Pager {
    command: String,
    child: Child,
    /// `None` once it has ended.
    stdin: Option<ChildStdin>,
    /// All that was written to it, while it is not known that it reads.
    kept: Option<Vec<u8>>,
    /// Where output goes that it cannot show.
    plain: Box<dyn Write>,
}

impl Pager {
    /// Writes to the user's pager, or to `plain` if there is none to be used.
    pub(crate) fn or(plain: Box<dyn Write>) -> Box<dyn Write> {
        match chosen(std::env::var("PAGER").ok()) {
            Some(pager) => Self::start(pager, plain),
            None => plain,
        }
    }

    fn start(pager: String, plain: Box<dyn Write>) -> Box<dyn Write> {
        // By a shell, as it may have arguments.
        let mut command = Command::new("sh");
        command.arg("-c").arg(&pager).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            // Ends by itself if all fits the screen; colours; the screen is left as it was.
            command.env("LESS", "FRX");
        }
        match command.spawn() {
            Ok(mut child) => {
                let stdin = child.stdin.take();
                Box::new(Self { command: pager, child, stdin, kept: Some(Vec::new()), plain })
            }
            Err(_) => plain,
        }
    }

    /// Waits for the pager to end. If it never ran, what it was given goes where it would have gone without one.
    fn end(&mut self) -> io::Result<()> {
        // The end of the output, which it waits for; then its user reads for as long as they like.
        drop(self.stdin.take());
        let code = self.child.wait()?.code();
        let Some(kept) = self.kept.take().filter(|_| code.is_some_and(|code| NOT_RUN.contains(&code))) else {
            return Ok(());
        };
        let pager = escaped(&self.command);
        // Nobody is left to be told if that fails.
        let _ =
            writeln!(io::stderr(), "relive: the pager `{pager}` cannot be run (PAGER names it): printed without one");
        self.plain.write_all(&kept)?;
        self.plain.flush()
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.stdin else { return self.plain.write(bytes) };
        match stdin.write(bytes) {
            Ok(count) => {
                if let Some(kept) = &mut self.kept {
                    kept.extend_from_slice(&bytes[..count]);
                }
                self.kept.take_if(|kept| kept.len() > KEPT_BYTES_MAX);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.kept.is_some() => {
                self.end()?;
                // Its user has left it, if it ran; else the rest is printed, too.
                if self.child.wait()?.code().is_some_and(|code| NOT_RUN.contains(&code)) {
                    return self.plain.write(bytes);
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => stdin.flush(),
            None => self.plain.flush(),
        }
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn the_pager_is_the_users_or_none() {
        let chosen = |pager: &str| chosen(Some(pager.to_owned()));
        assert_eq!(chosen("most -s"), Some("most -s".to_owned()));
        assert_eq!((chosen(""), chosen(" "), chosen("cat")), (None, None, None));
        assert_eq!(super::chosen(None), Some("less".to_owned()));
    }

    /// What is printed plainly, where a test can read it.
    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl Write for Printed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is printed plainly of an output that goes to this pager.
    fn printed(pager: &str, output: &str) -> String {
        let printed = Printed::default();
        let mut pager = Pager::start(pager.to_owned(), Box::new(printed.clone()));
        for part in output.as_bytes().chunks(1000) {
            pager.write_all(part).unwrap();
        }
        pager.flush().unwrap();
        drop(pager);
        String::from_utf8(std::mem::take(&mut *printed.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn what_a_pager_that_cannot_be_run_was_to_show_is_printed_all_of_it() {
        let long = "a line of a log\n".repeat(100_000);
        for output in ["", "a line\n", &long] {
            assert!(printed("no-such-pager-of-anyone -R", output) == output, "{} bytes", output.len());
            assert!(printed("/dev/null", output) == output, "{} bytes", output.len());
            assert_eq!(printed("cat > /dev/null", output), "", "who reads it has it");
        }
    }
}
