//! `skein completions`: what a shell completes.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::program::Program;
use crate::format::OutputArgs;
use crate::output::print;

const HELP: &str = "\
Examples:
  skein completions bash > ~/.local/share/bash-completion/completions/skein
  skein completions zsh > ~/.zfunc/_skein            # a directory in $fpath
  skein completions fish > ~/.config/fish/completions/skein.fish";

/// Arguments of `skein completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: SupportedShell,
}

/// A shell that there are completions for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SupportedShell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn completions(args: &CompletionsArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    output.refuse_data("a script for a shell")?;
    let shell = match args.shell {
        SupportedShell::Bash => Shell::Bash,
        SupportedShell::Zsh => Shell::Zsh,
        SupportedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut offered(&Program::command()), "skein", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The program without what its help does not show: scripts would offer it.
fn offered(program: &clap::Command) -> clap::Command {
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    clap::Command::new("skein").args(program.get_arguments().cloned()).subcommands(shown.cloned())
}
