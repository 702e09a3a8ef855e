//! Lists as models write them.

use serde_json::Value;

/// Entries of a list that are taken. Whoever plans more than that plans anew on the way.
pub(super) const ENTRIES_MAX: usize = 10;
/// Characters of an entry. It is a sentence, and stands in every request that follows.
const ENTRY_CHARS_MAX: usize = 500;

/// The list in an answer: JSON if there is some in it, else its numbered or bulleted lines. `None` if there is no list.
pub(super) fn of(text: &str) -> Option<Vec<String>> {
    let entries = json(text).or_else(|| lines(text))?;
    let entries =
        entries.into_iter().map(|entry| entry.trim().chars().take(ENTRY_CHARS_MAX).collect());
    Some(entries.filter(|entry: &String| !entry.is_empty()).take(ENTRIES_MAX).collect())
}

fn json(text: &str) -> Option<Vec<String>> {
    let (start, end) = (text.find('[')?, text.rfind(']')?);
    let Value::Array(entries) = crate::models::parse_json(text.get(start..=end)?).ok()? else {
        return None;
    };
    let text_of = |entry: Value| match entry {
        Value::String(text) => Some(text),
        Value::Object(fields) => {
            fields.into_iter().find_map(|(_, value)| value.as_str().map(str::to_owned))
        }
        _ => None,
    };
    Some(entries.into_iter().filter_map(text_of).collect())
}

fn lines(text: &str) -> Option<Vec<String>> {
    let entry = |line: &str| {
        let line = line.trim();
        let bullet = line.strip_prefix(['-', '*', '•']);
        let number = || {
            let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
            (rest.len() < line.len()).then(|| rest.strip_prefix(['.', ')'])).flatten()
        };
        bullet.or_else(number).map(|entry| entry.trim().to_owned())
    };
    let entries: Vec<_> = text.lines().filter_map(entry).collect();
    (!entries.is_empty()).then_some(entries)
}
