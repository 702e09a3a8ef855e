//! The places of a JSON document. What is no JSON ends the walk: its reader has said so.

use std::borrow::Cow;

use super::tree::{Field, Ix, Kind, Style, Tree};

/// As much of a text as is JSON.
pub(super) fn tree(text: &str) -> Tree<'_> {
    let mut scanner = Scanner { text, at: 0, tree: Tree::default() };
    // Anything that is left open stays so.
    let _ = scanner.document();
    scanner.tree
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    tree: Tree<'t>,
}

/// A list or an object that has not ended. Nested ones are no recursion: there may be as many as there are bytes.
struct Open {
    node: Ix,
    is_object: bool,
}

impl<'t> Scanner<'t> {
    fn document(&mut self) -> Option<()> {
        let mut open: Vec<Open> = Vec::new();
        self.value(&mut open);
        while let Some(Open { node, is_object }) = open.last() {
            let (node, is_object) = (*node, *is_object);
            match self.next()? {
                b']' | b'}' => {
                    self.at += 1;
                    open.pop();
                }
                b',' => self.at += 1,
                b'"' if is_object => {
                    let key = self.at;
                    let name = self.string()?;
                    if self.next()? != b':' {
                        return None;
                    }
                    self.at += 1;
                    let value = self.value(&mut open)?;
                    self.tree.add_field(node, Field { name, key, value });
                }
                _ if is_object => return None,
                _ => {
                    let item = self.value(&mut open)?;
                    self.tree.add_item(node, item);
                }
            }
        }
        Some(())
    }

    /// Adds the value that comes next, and leaves a list or an object open.
    fn value(&mut self, open: &mut Vec<Open>) -> Option<Ix> {
        let first = self.next()?;
        let start = self.at;
        match first {
            b'{' | b'[' => {
                self.at += 1;
                let is_object = first == b'{';
                let is_block = false;
                let kind = match is_object {
                    true => Kind::Object { fields: Vec::new(), is_block },
                    false => Kind::List { items: Vec::new(), is_block },
                };
                let node = self.tree.add(start..self.at, kind);
                open.push(Open { node, is_object });
                Some(node)
            }
            b'"' => {
                let value = self.string()?;
                Some(self.tree.add(start..self.at, Kind::Scalar(value, Style::Double)))
            }
            _ => {
                let is_end = |byte: u8| byte.is_ascii_whitespace() || b",]}:\"[{".contains(&byte);
                let length = self.text.bytes().skip(start).position(is_end);
                let end = length.map_or(self.text.len(), |length| start + length);
                self.at = end;
                let word = self.text.get(start..end).filter(|word| !word.is_empty())?;
                Some(self.tree.add(start..end, Kind::Scalar(word.into(), Style::Plain)))
            }
        }
    }

    /// What comes behind blanks.
    fn next(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let blanks = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.at += blanks;
        rest.get(blanks).copied()
    }

    /// A string from its quote on.
    fn string(&mut self) -> Option<Cow<'t, str>> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut has_escapes = false;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.at = at + 1;
        if has_escapes {
            serde_json::from_str::<String>(self.text.get(start..self.at)?).ok().map(Cow::Owned)
        } else {
            self.text.get(start + 1..at).map(Cow::Borrowed)
        }
    }
}
