//! `relive completions SHELL`: a script that has a shell complete this command.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Arguments;
use crate::context::{Context, Status};
use crate::failure::Failure;

/// Print a script that makes a shell complete `relive`
///
/// bash: relive completions bash > ~/.local/share/bash-completion/completions/relive
/// zsh: relive completions zsh > "${fpath[1]}/_relive"
/// fish: relive completions fish > ~/.config/fish/completions/relive.fish
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completions {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        // Under the name that the program has: one of the user's own is completed, too.
        let program = std::env::args_os().next().map(std::path::PathBuf::from);
        let name = program.as_deref().and_then(|path| path.file_stem()).and_then(|name| name.to_str());
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), name.unwrap_or("relive"), &mut script);
        context.out.write_all(&script)?;
        Ok(Status::Success)
    }
}
