//! Keys that somebody might guess.

/// Characters at least that neither a known word, nor a sequence, nor a repetition accounts for: some 50 bits in hex.
const SURPRISES_MIN: usize = 10;
/// Characters from which on a sequence or a repetition counts as one.
const PATTERN_CHARS_MIN: usize = 4;
/// What people write where something secret is asked for, in lower case and with letters in place of digits that look
/// like them.
const WORDS: &[&str] = &[
    "abc",
    "admin",
    "apikey",
    "asdf",
    "bootstrap",
    "changeit",
    "changeme",
    "default",
    "demo",
    "dragon",
    "example",
    "guest",
    "iloveyou",
    "insecure",
    "letmein",
    "login",
    "master",
    "monkey",
    "pass",
    "password",
    "please",
    "qwerty",
    "qwertz",
    "replace",
    "root",
    "sample",
    "secret",
    "skein",
    "sunshine",
    "superuser",
    "temp",
    "token",
    "welcome",
    "zxcv",
];

/// Whether a key is made of what an attacker tries first. Says nothing about a key that somebody has thought up
/// carefully; one that comes out of a random generator passes.
pub(super) fn is_guessable(key: &str) -> bool {
    let key: Vec<char> = key.to_ascii_lowercase().chars().collect();
    let (mut at, mut surprises) = (0, 0);
    while at < key.len() {
        if let Some(word) = word(&key[at..]) {
            at += word;
            continue;
        }
        surprises += 1;
        let pattern = sequence(&key[at..]).max(repetition(&key, at));
        at += if pattern >= PATTERN_CHARS_MIN { pattern } else { 1 };
    }
    surprises < SURPRISES_MIN
}

/// Characters of the longest word at the start.
fn word(rest: &[char]) -> Option<usize> {
    let looks_like = |letter: char, at: char| {
        letter == at
            || matches!(
                (letter, at),
                ('o', '0') | ('i' | 'l', '1') | ('e', '3') | ('a', '4') | ('s', '5') | ('t', '7')
            )
    };
    let is_at_start = |word: &&&str| {
        word.len() <= rest.len()
            && word.chars().zip(rest).all(|(letter, at)| looks_like(letter, *at))
    };
    WORDS.iter().filter(is_at_start).map(|word| word.len()).max()
}

/// Characters of the sequence at the start: each is the next one of the one before, or the one before that, or the
/// same.
fn sequence(rest: &[char]) -> usize {
    let step = |pair: &[char]| i64::from(u32::from(pair[1])) - i64::from(u32::from(pair[0]));
    let mut steps = rest.windows(2).map(step);
    let Some(first) = steps.next().filter(|step| (-1..=1).contains(step)) else { return 1 };
    2 + steps.take_while(|step| *step == first).count()
}

/// Characters that have stood in this order before.
fn repetition(key: &[char], at: usize) -> usize {
    let same = |from: usize| key[from..].iter().zip(&key[at..]).take_while(|(a, b)| a == b).count();
    (0..at).map(same).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_distinguished_from_what_is_random() {
        for weak in [
            "changemechangeme",
            "ChangeMe-ChangeMe-ChangeMe",
            "ch4ng3m3ch4ng3m3",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "0123456789abcdef",
            "12345678901234567890",
            "abcabcabcabcabcabc",
            "passwordpassword",
            "supersecretpassword1",
            "skein-bootstrap-key",
            "qwertyuiop123456",
            "secret-secret-secret-secret",
            "ab12ab12ab12ab12ab12",
        ] {
            assert!(is_guessable(weak), "{weak}");
        }
        for strong in [
            "e2e-key-0123456789abcdef",
            "5f0c8ad1e9b37246",
            "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db",
            "test-key-0191c0de4b7a7cc0a5f3d2e1b0a99887",
            "kT9vQ2mXw7RzP4aN",
            "018f6e1c-5d3a-7b21-9c44-2f7b1f0e6a55",
        ] {
            assert!(!is_guessable(strong), "{strong}");
        }
    }
}
