//! Which file imports which, read off the sources: a file is a module, and an arrow runs from the one that imports to
//! the one that defines, through whatever hands the name on.

use std::collections::BTreeMap;

use crate::Source;

/// A module's path from its crate's root; the root's own is empty.
pub(crate) type ModulePath = Vec<String>;

/// The modules of one crate that are files, without those that are for tests only.
pub(crate) struct Crate {
    /// Its folder: `shared/src`.
    pub(crate) folder: String,
    modules: BTreeMap<ModulePath, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    imports: Vec<Import>,
}

/// A path that a file names, from its crate's root.
struct Import {
    line: usize,
    path: ModulePath,
    /// What the file itself calls it, if it is in a `use`.
    name: Option<String>,
}

/// A file needs what another defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: ModulePath,
    pub(crate) to: ModulePath,
    /// In words: both files, the line and what is imported.
    pub(crate) text: String,
}

impl Crate {
    /// Every crate among `sources`: a folder with a `lib.rs` or a `main.rs`.
    pub(crate) fn all(sources: &[Source]) -> Vec<Self> {
        let mut folders: Vec<&str> = sources.iter().filter_map(|it| root_of(&it.path)).collect();
        folders.sort_unstable();
        folders.dedup();
        folders.into_iter().map(|folder| Self::read(folder, sources)).collect()
    }

    fn read(folder: &str, sources: &[Source]) -> Self {
        let inside = |source: &Source| {
            let path = source.path.strip_prefix(folder)?.strip_prefix('/')?.to_owned();
            let own = Source { path, text: source.text.clone() };
            (!own.is_test()).then_some(own)
        };
        let own: Vec<_> = sources.iter().filter_map(inside).collect();
        let paths: Vec<_> = own.iter().map(|source| module_path(&source.path)).collect();
        let mut modules = BTreeMap::<ModulePath, Module>::new();
        for (source, path) in own.iter().zip(&paths) {
            let imports = Reader::new(source, path, &paths).imports();
            let module = modules.entry(path.clone()).or_default();
            module.file = format!("{folder}/{}", source.path);
            module.imports.extend(imports);
        }
        Self { folder: folder.to_owned(), modules }
    }

    /// The modules right below the root.
    pub(crate) fn top(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().filter(|path| path.len() == 1).map(|path| path[0].as_str())
    }

    /// One arrow for each two files, that of the first line.
    pub(crate) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = BTreeMap::new();
        for (from, module) in &self.modules {
            for import in &module.imports {
                let to = self.definer(&import.path, 0);
                if to == *from {
                    continue;
                }
                let target = &self.modules[&to].file;
                let what = import.path.join("::");
                let text = format!("{}:{} -> {target}: {what}", module.file, import.line);
                let arrow = Arrow { from: from.clone(), to: to.clone(), text };
                arrows.entry((from.clone(), to)).or_insert(arrow);
            }
        }
        arrows.into_values().collect()
    }

    /// The file that defines what `path` names, though others hand it on.
    fn definer(&self, path: &[String], handed_on: usize) -> ModulePath {
        assert!(handed_on < 20, "{} is handed on in a circle", path.join("::"));
        let mut at = ModulePath::new();
        for (place, name) in path.iter().enumerate() {
            at.push(name.clone());
            if self.modules.contains_key(&at) {
                continue;
            }
            at.pop();
            let imports = self.modules.get(&at).into_iter().flat_map(|module| &module.imports);
            // What a macro writes elsewhere may say where its own file is.
            let mut named = imports.filter(|import| {
                import.name.as_ref() == Some(name) && import.path[..] != path[..=place]
            });
            return match named.next() {
                Some(import) => {
                    let path: Vec<_> =
                        import.path.iter().chain(&path[place + 1..]).cloned().collect();
                    self.definer(&path, handed_on + 1)
                }
                None => at,
            };
        }
        at
    }
}

/// The folder of the file of a crate's root.
fn root_of(path: &str) -> Option<&str> {
    path.strip_suffix("/lib.rs").or_else(|| path.strip_suffix("/main.rs"))
}

fn module_path(path: &str) -> ModulePath {
    let mut parts: ModulePath =
        path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let is_own_folder = parts.last().is_some_and(|last| last == "mod");
    if is_own_folder || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    parts
}

/// Reads the paths of one file.
struct Reader<'a> {
    tokens: Vec<(usize, String)>,
    /// The modules written out around the place, the file's own first.
    inside: ModulePath,
    modules: &'a [ModulePath],
    imports: Vec<Import>,
}

impl<'a> Reader<'a> {
    fn new(source: &Source, path: &ModulePath, modules: &'a [ModulePath]) -> Self {
        Self { tokens: tokens(source), inside: path.clone(), modules, imports: Vec::new() }
    }

    fn token(&self, place: usize) -> &str {
        self.tokens.get(place).map_or("", |(_, token)| token)
    }

    fn imports(mut self) -> Vec<Import> {
        // How deep the braces are, and where each module began that is written out.
        let (mut depth, mut written_out) = (0, Vec::new());
        let mut place = 0;
        while place < self.tokens.len() {
            match (self.token(place), self.token(place + 1), self.token(place + 2)) {
                ("mod", name, "{") => {
                    self.inside.push(name.to_owned());
                    written_out.push(depth);
                    depth += 1;
                    place += 3;
                }
                ("{", ..) => {
                    depth += 1;
                    place += 1;
                }
                ("}", ..) => {
                    depth -= 1;
                    if written_out.last() == Some(&depth) {
                        written_out.pop();
                        self.inside.pop();
                    }
                    place += 1;
                }
                ("use", next, _) if next != "<" => {
                    place = self.read_tree(place + 1, &[], written_out.is_empty());
                }
                ("crate" | "super" | "self", "::", _) => {
                    place = self.read_tree(place, &[], false);
                }
                _ => place += 1,
            }
        }
        self.imports
    }

    /// Reads a path, or a tree of them, and returns the place behind it.
    fn read_tree(&mut self, mut place: usize, prefix: &[String], is_named: bool) -> usize {
        let line = self.tokens.get(place).map_or(0, |(line, _)| *line);
        let mut path = prefix.to_vec();
        loop {
            match self.token(place) {
                "{" => {
                    place += 1;
                    while self.token(place) != "}" {
                        place = self.read_tree(place, &path, is_named);
                        place += usize::from(self.token(place) == ",");
                    }
                    return place + 1;
                }
                "*" => {
                    self.add(line, &path, None);
                    return place + 1;
                }
                name => path.push(name.to_owned()),
            }
            place += 1;
            if self.token(place) != "::" || self.token(place + 1) == "<" {
                break;
            }
            place += 1;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned();
        if is_named && self.token(place) == "as" {
            name = Some(self.token(place + 1).to_owned());
            place += 2;
        }
        self.add(line, &path, name.filter(|_| is_named));
        place
    }

    /// Takes what is the crate's own; what begins otherwise is another crate's.
    fn add(&mut self, line: usize, path: &[String], name: Option<String>) {
        let mut rest = path;
        let mut full = match path[0].as_str() {
            "crate" => ModulePath::new(),
            "self" | "super" => self.inside.clone(),
            first => {
                let child: Vec<_> = self.inside.iter().cloned().chain([first.to_owned()]).collect();
                if !self.modules.contains(&child) {
                    return;
                }
                self.inside.clone()
            }
        };
        while let [first, others @ ..] = rest
            && ["crate", "self", "super"].contains(&first.as_str())
        {
            if first == "super" {
                full.pop();
            }
            rest = others;
        }
        full.extend_from_slice(rest);
        self.imports.push(Import { line, path: full, name });
    }
}

/// Words and signs of a file's code with their lines, without texts.
fn tokens(source: &Source) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    // Within a text: the sign that ends it, with as many `#` as began it, and whether a backslash escapes.
    let mut text: Option<(String, bool)> = None;
    for (number, line) in source.code() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            if let Some((end, escapes)) = &text {
                if *escapes && first == '\\' {
                    rest = rest.get(2..).unwrap_or_default();
                } else if let Some(behind) = rest.strip_prefix(end.as_str()) {
                    rest = behind;
                    text = None;
                } else {
                    rest = &rest[first.len_utf8()..];
                }
                continue;
            }
            if rest.starts_with("//") {
                break;
            }
            if let Some(behind) = behind_character(rest) {
                rest = behind;
                continue;
            }
            if let Some((end, behind)) = behind_quote(rest) {
                text = Some(end);
                rest = behind;
                continue;
            }
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                tokens.push((number, rest[..length].to_owned()));
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// What follows a character that is written out; a lifetime is none.
fn behind_character(code: &str) -> Option<&str> {
    let inner = code.strip_prefix("b'").or_else(|| code.strip_prefix('\''))?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let end = escaped.get(1..)?.find('\'')?;
        return escaped.get(end + 2..);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].strip_prefix('\'')
}

/// What ends the text that begins here, whether it knows escapes, and what follows its beginning.
fn behind_quote(code: &str) -> Option<((String, bool), &str)> {
    let unprefixed = code.strip_prefix(['b', 'c']).unwrap_or(code);
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let open = raw.trim_start_matches('#');
        let hashes = &raw[..raw.len() - open.len()];
        return Some(((format!("\"{hashes}"), false), open.strip_prefix('"')?));
    }
    Some((("\"".to_owned(), true), unprefixed.strip_prefix('"')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("a/src/{path}"),
            text: (*text).to_owned(),
        };
        let sources: Vec<_> = files.iter().map(source).collect();
        let crates = Crate::all(&sources);
        crates.iter().flat_map(Crate::arrows).map(|arrow| arrow.text).collect()
    }

    #[test]
    fn an_arrow_leads_to_the_file_that_defines() {
        let found = arrows(&[
            ("lib.rs", "mod one;\nmod two;\npub use two::Outer as Renamed;"),
            ("one.rs", "use std::fs;\nuse crate::{Renamed, two::{self, Inner}};"),
            ("two/mod.rs", "mod inner;\npub use inner::{Inner, Other};\npub struct Outer;"),
            ("two/inner.rs", "fn it() { super::Outer::new::<u8>(\"crate::one\", 'c', 'a'.x) }"),
        ]);
        assert_eq!(
            found,
            [
                "a/src/lib.rs:3 -> a/src/two/mod.rs: two::Outer",
                "a/src/one.rs:2 -> a/src/two/mod.rs: Renamed",
                "a/src/one.rs:2 -> a/src/two/inner.rs: two::Inner",
                "a/src/two/mod.rs:2 -> a/src/two/inner.rs: two::inner::Inner",
                "a/src/two/inner.rs:1 -> a/src/two/mod.rs: two::Outer::new",
            ]
        );
    }

    #[test]
    fn texts_comments_and_tests_hold_no_arrow() {
        let found = arrows(&[
            ("lib.rs", "mod one;\nmod two;"),
            (
                "one.rs",
                "// use crate::two;\nlet a = r#\"crate::two \" \\\"#; // crate::two\nlet b = \"\\\" crate::two\n\
                 crate::two\";\nlet c = ['\"', '\\''];\n#[cfg(test)]\nuse crate::two;\nmod deep {\nuse super::super::two;\n}",
            ),
            ("two.rs", ""),
            ("one_tests.rs", "use crate::two;"),
        ]);
        assert_eq!(found, ["a/src/one.rs:9 -> a/src/two.rs: two"]);
    }
}
