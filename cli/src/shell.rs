//! Commands that are shown for somebody to copy.

use skein_shared::domain::text::is_active;
use unicode_width::UnicodeWidthStr;

/// What is before the parts of a command that are not on its first line.
const CONTINUATION: &str = "  ";
/// What says that a command goes on.
const GOES_ON: &str = " \\";

/// A command as a shell reads it, quoted where that is necessary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShellCommand(Vec<String>);

impl ShellCommand {
    /// The command with these words. `None` if one of them cannot be shown as it is: somebody would run another command
    /// than the one that was meant.
    pub(crate) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let words = words.into_iter();
        words
            .map(|word| (!word.contains(is_active)).then(|| quoted(word)))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The command on as many lines as it takes to keep it within the width; broken so that a shell takes them for one.
    /// A single word is never broken, and may be wider.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let width = width.unwrap_or(usize::MAX);
        let Self(words) = self;
        let mut lines = vec![String::new()];
        for (index, word) in words.iter().enumerate() {
            let line = lines.last().map_or("", String::as_str);
            let needed = line.width() + 1 + word.width();
            let is_last = index + 1 == words.len();
            let needed = if is_last { needed } else { needed + GOES_ON.len() };
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) if needed <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                Some(line) => {
                    line.push_str(GOES_ON);
                    lines.push(format!("{CONTINUATION}{word}"));
                }
                None => {}
            }
        }
        lines
    }
}

impl std::fmt::Display for ShellCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// A command of this program with the flags of a server, on one line. `None` if a word cannot be shown as it is.
#[must_use]
pub fn skein_command(words: &[&str], server: &[String]) -> Option<String> {
    let words = std::iter::once("skein").chain(words.iter().copied());
    let command = ShellCommand::new(words.chain(server.iter().map(String::as_str)))?;
    Some(command.to_string())
}

/// A command of this program within a sentence, to be typed as it stands there: the one way in which a hint names one, so
/// that it goes to the same server. Where a word cannot be shown as it is, the sentence says so.
#[must_use]
pub fn hint(words: &[&str], server: &[String]) -> String {
    match skein_command(words, server) {
        Some(command) => format!("`{command}`"),
        None => format!("`skein {}` on the same server", words.join(" ").replace(is_active, " ")),
    }
}

/// Words as a shell reads them. `None` if one of them cannot be shown as it is.
#[must_use]
pub fn shell_words(words: &[&str]) -> Option<String> {
    ShellCommand::new(words.iter().copied()).map(|command| command.to_string())
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=@%+,".contains(char);
    // A `~` or a `=` in front means something to some shells.
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const WORDS: [&str; 8] = [
        "skein",
        "decide",
        "a-b_c/d:e@f%g+h,i.j",
        "it's $HOME",
        "",
        "; rm -rf \"$x\" `y` \\",
        "ünï #1 *?!",
        "=x~",
    ];

    /// What a shell makes of it.
    fn words_of(command: &str) -> Vec<String> {
        let script = format!("skein() {{ printf '%s\\0' skein \"$@\"; }}\n{command}\n");
        let ended = Command::new("sh").arg("-c").arg(script).output().expect("there is a shell");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let text = String::from_utf8(ended.stdout).expect("it is text");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn a_shell_reads_the_words_that_were_meant_however_narrow_the_terminal() {
        let command = ShellCommand::new(WORDS).unwrap();
        assert_eq!(words_of(&command.to_string()), WORDS);
        for width in [1, 10, 20, 30, 60, 200] {
            let lines = command.lines(Some(width));
            assert_eq!(words_of(&lines.join("\n")), WORDS, "{width}: {lines:?}");
        }
    }

    #[test]
    fn a_command_is_broken_between_words() {
        let command = ShellCommand::new(["skein", "decide", "019c", "ask", "2"]).unwrap();
        assert_eq!(command.lines(None), ["skein decide 019c ask 2"]);
        assert_eq!(command.lines(Some(23)), ["skein decide 019c ask 2"]);
        assert_eq!(command.lines(Some(22)), ["skein decide 019c \\", "  ask 2"]);
        assert_eq!(command.lines(Some(14)), ["skein decide \\", "  019c ask 2"]);
    }

    #[test]
    fn a_command_of_this_program_goes_to_the_same_server() {
        let server = ["--data", "my data"].map(str::to_owned);
        let command = skein_command(&["publish", "it's.yaml"], &server).unwrap();
        assert_eq!(words_of(&command), ["skein", "publish", "it's.yaml", "--data", "my data"]);
        assert_eq!(skein_command(&["runs"], &[]).as_deref(), Some("skein runs"));
        assert_eq!(skein_command(&["publish", "a\nb"], &[]), None);
    }

    #[test]
    fn a_hint_goes_to_the_same_server_or_says_that_it_is_to() {
        let server = ["--url", "http://x:1"].map(str::to_owned);
        assert_eq!(hint(&["runs"], &server), "`skein runs --url http://x:1`");
        let server = ["--data", "a\nb"].map(str::to_owned);
        assert_eq!(hint(&["runs"], &server), "`skein runs` on the same server");
    }

    /// Where a text names a command that nobody is to type for the server at hand.
    const NO_HINTS: [&str; 4] = [
        "another skein command",
        "`skein dev` at {}",
        "skein run examples/api-tour.yaml --data DIRECTORY",
        "`skein {}` on the same server",
    ];

    /// The lines of a source that are shown and name a command: neither comments, nor tests, nor help, which knows no server.
    fn naming(source: &str) -> Vec<&str> {
        let shown = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let mut is_help = false;
        let lines = shown.lines().filter(|line| {
            let begins = line.starts_with("const ") && line.ends_with("\"\\");
            let was_help = is_help || begins;
            is_help = was_help && !line.ends_with("\";");
            !was_help && !line.trim_start().starts_with("//")
        });
        let names = |line: &&str| {
            line.match_indices("skein ").any(|(at, word)| {
                line[at + word.len()..]
                    .starts_with(|char: char| char.is_ascii_lowercase() || char == '{')
            })
        };
        let lines = lines.filter(names);
        lines.filter(|line| !NO_HINTS.iter().any(|text| line.contains(text))).collect()
    }

    #[test]
    fn no_text_names_a_command_but_by_a_hint() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let (mut found, mut read) = (Vec::new(), 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it can be listed") {
                let path = entry.expect("it can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().ends_with("tests.rs") {
                    let source = std::fs::read_to_string(&path).expect("it is text");
                    let lines = naming(&source).into_iter();
                    found.extend(lines.map(|line| format!("{}: {line}", path.display())));
                    read += 1;
                }
            }
        }
        assert!(read > 100, "{read}");
        assert_eq!(found, [] as [String; 0], "see `hint`");
        let help = "const HELP: &str = \"\\\n  skein runs\";\n";
        let source = format!("{help}// `skein x`\nsay(\"`skein runs` tells\");\n");
        assert_eq!(naming(&source), ["say(\"`skein runs` tells\");"]);
    }

    #[test]
    fn what_cannot_be_shown_as_it_is_is_no_command() {
        for word in ["a\x1b[2J", "a\nb", "a\u{202e}b", "\u{200b}"] {
            assert_eq!(ShellCommand::new(["skein", word]), None, "{word:?}");
        }
    }
}
