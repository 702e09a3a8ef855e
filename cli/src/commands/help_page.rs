//! `skein help-page`: all of `--help` as a page, which is `cli/COMMANDS.md`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Arg, CommandFactory as _};

use super::program::Program;
use crate::output::print;

/// What stands above the commands.
const HEAD: &str = "\
# The commands of skein

Made of what `skein help COMMAND` says, by `skein help-page > cli/COMMANDS.md`; a test fails where the two differ. What all of
them take, how they print and their exit codes stand first.
";

/// The help that clap adds to every command that has others.
const HELP_COMMAND: &str = "help";

pub(super) fn help_page() -> anyhow::Result<ExitCode> {
    print(&page()?)?;
    Ok(ExitCode::SUCCESS)
}

fn page() -> Result<String, std::fmt::Error> {
    let mut program = quiet(Program::command());
    program.build();
    let mut text = HEAD.to_owned();
    section(&mut text, &mut program, "skein")?;
    for (name, command) in leaves(&program, "skein") {
        section(&mut text, &mut without_common(command), &name)?;
    }
    Ok(text)
}

/// A command that shows nothing of the environment of whoever writes the page.
fn quiet(command: clap::Command) -> clap::Command {
    command.mut_args(|arg: Arg| arg.hide_env_values(true)).mut_subcommands(quiet)
}

/// What all commands take stands on the page once.
fn without_common(command: clap::Command) -> clap::Command {
    command.mut_args(|arg: Arg| if arg.is_global_set() { arg.hide(true) } else { arg })
}

/// The commands that do something, each with all the words that it takes.
fn leaves(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
    let shown = command.get_subcommands();
    let shown = shown.filter(|it| !it.is_hide_set() && it.get_name() != HELP_COMMAND);
    shown
        .flat_map(|it| {
            let name = format!("{name} {}", it.get_name());
            if it.has_subcommands() { leaves(it, &name) } else { vec![(name, it.clone())] }
        })
        .collect()
}

fn section(text: &mut String, command: &mut clap::Command, name: &str) -> std::fmt::Result {
    let help = command.render_long_help().to_string();
    writeln!(text, "\n## {name}\n\n```text")?;
    for line in help.trim_end().lines() {
        writeln!(text, "{}", line.trim_end())?;
    }
    writeln!(text, "```")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::FromArgMatches as _;

    use super::*;

    /// The examples in a command's help: each a line that starts with the program, up to what is said of it.
    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let Some((_, examples)) = help.split_once("Examples:\n") else { return Vec::new() };
        let lines = examples.lines().map_while(|line| line.strip_prefix("  "));
        let lines =
            lines.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned());
        lines.collect()
    }

    /// The words of a line as a shell reads them, as far as examples make use of that.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
        for char in line.chars() {
            match char {
                '\'' => {
                    is_quoted = !is_quoted;
                    word.get_or_insert_default();
                }
                ' ' if !is_quoted => words.extend(word.take()),
                char => word.get_or_insert_default().push(char),
            }
        }
        assert!(!is_quoted, "{line}");
        words.extend(word);
        words
    }

    #[test]
    fn the_page_is_what_the_help_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("COMMANDS.md");
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let page = page().unwrap();
        // Of a long page, where it differs.
        let differs = page.lines().zip(written.lines()).find(|(now, then)| now != then);
        assert_eq!(differs, None, "run `skein help-page > cli/COMMANDS.md`");
        assert_eq!(written, page, "run `skein help-page > cli/COMMANDS.md`");
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_can_be_called() {
        let mut program = Program::command();
        program.build();
        let mut commands = leaves(&program, "skein");
        assert!(commands.len() > 25, "{}", commands.len());
        commands.push(("skein".to_owned(), program));
        for (name, command) in commands {
            let examples = examples(&command);
            assert!(!examples.is_empty(), "{name} has no example");
            for example in examples {
                // What comes behind that is the shell's.
                let call = example.split(" > ").next().unwrap_or_default();
                let words = words(call);
                assert!(words.join(" ").starts_with(&name), "{name}: {example}");
                let read = Program::command().try_get_matches_from(&words);
                let read = read.and_then(|matches| Program::from_arg_matches(&matches));
                assert!(
                    read.is_ok(),
                    "{example}: {}",
                    read.err().map_or_else(String::new, |it| it.to_string())
                );
            }
        }
    }

    #[test]
    fn the_help_of_a_run_says_what_ctrl_c_does() {
        let mut program = Program::command();
        program.build();
        for name in ["skein run", "skein start", "skein show", "skein trace"] {
            let (_, mut command) =
                leaves(&program, "skein").into_iter().find(|(it, _)| it == name).unwrap();
            let help = command.render_long_help().to_string();
            let words: Vec<_> = help.split_whitespace().collect();
            assert!(words.join(" ").contains("Ctrl-C and SIGTERM"), "{name}");
        }
        let help = Program::command().render_long_help().to_string();
        for part in ["Exit codes:", "130  interrupted", "Ctrl-C, and SIGTERM, detach"] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }
}
