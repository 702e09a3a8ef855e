//! What there is to be in SigNoz: one document a file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::embedded;
use crate::usage::UsageError;

/// Documents at most, of both kinds together: more than anybody looks at, and each is a request.
const DOCUMENTS_MAX: usize = 500;
/// Bytes of a file at most: SigNoz's own largest dashboard is a fourth of it.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The mark by which Skein knows its own again: a tag of a dashboard, a label of a rule.
pub const MARK: (&str, &str) = ("managed_by", "skein");

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A dashboard, schema v6: found by its `name`, which SigNoz keeps unique and unchanged.
    Dashboard,
    /// An alert rule, schema v2alpha1: found by its title, `alert`, which SigNoz does not keep unique.
    Rule,
}

impl Kind {
    /// Both, in the order in which they are applied.
    pub const ALL: [Self; 2] = [Self::Dashboard, Self::Rule];

    /// The folder that its files are in.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboards",
            Self::Rule => "rules",
        }
    }

    fn name_member(self) -> &'static str {
        match self {
            Self::Dashboard => "name",
            Self::Rule => "alert",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dashboard => "dashboard",
            Self::Rule => "rule",
        })
    }
}

/// A dashboard or a rule as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it is.
    pub kind: Kind,
    /// What it is found by.
    pub name: String,
    /// The file that it is from, below its directory.
    pub file: String,
    /// What SigNoz is sent.
    pub body: Value,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({})", self.kind, self.name, self.file)
    }
}

/// The documents that the program carries.
///
/// # Errors
/// When one of them is none, which a test excludes.
pub fn embedded() -> anyhow::Result<Vec<Document>> {
    let of = |kind, files: &[(&str, &str)]| -> anyhow::Result<Vec<_>> {
        files.iter().map(|(file, text)| document(kind, file, text)).collect()
    };
    let mut documents = of(Kind::Dashboard, embedded::DASHBOARDS)?;
    documents.extend(of(Kind::Rule, embedded::RULES)?);
    checked(documents)
}

/// The documents in `dashboards/*.json` and `rules/*.json` below a directory, in the order of their names.
///
/// # Errors
/// When there are none, too many, or one cannot be read or found again by its name.
pub fn in_directory(directory: &Path) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for kind in Kind::ALL {
        let folder = directory.join(kind.folder());
        // A directory of dashboards alone is fine.
        if !folder.is_dir() {
            continue;
        }
        let shown = || format!("cannot read {}", folder.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).with_context(shown)? {
            let name = entry.with_context(shown)?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                names.push(name);
            }
        }
        names.sort();
        if documents.len() + names.len() > DOCUMENTS_MAX {
            bail!(UsageError::new(format!(
                "there are more than {DOCUMENTS_MAX} files in {}",
                directory.display()
            )));
        }
        for name in names {
            let file = format!("{}/{name}", kind.folder());
            documents.push(document(kind, &file, &read(&folder.join(&name))?)?);
        }
    }
    if documents.is_empty() {
        let message =
            format!("there is no dashboards/*.json and no rules/*.json in {}", directory.display());
        bail!(UsageError::new(message));
    }
    checked(documents)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = || format!("cannot read {}", path.display());
    let file = fs::File::open(path).with_context(shown)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(shown)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!(UsageError::new(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}

fn document(kind: Kind, file: &str, text: &str) -> anyhow::Result<Document> {
    let refuse = |why: &str| UsageError::new(format!("{file} is no {kind}: {why}"));
    let mut body: Value =
        serde_json::from_str(text).map_err(|error| refuse(&format!("no JSON, {error}")))?;
    let member = kind.name_member();
    let name = body.get(member).and_then(Value::as_str).filter(|name| !name.is_empty());
    let Some(name) = name.map(str::to_owned) else {
        // `generateName` would make a new dashboard each time.
        bail!(refuse(&format!("it needs a `{member}`, by which it is found again")));
    };
    mark(kind, &mut body).map_err(refuse)?;
    Ok(Document { kind, name, file: file.to_owned(), body })
}

/// Adds the mark where it is missing, so that own files of users are found again too.
fn mark(kind: Kind, body: &mut Value) -> Result<(), &'static str> {
    if is_marked(kind, body) {
        return Ok(());
    }
    let (key, value) = MARK;
    let body = body.as_object_mut().ok_or("it is no object")?;
    match kind {
        Kind::Dashboard => {
            let tags = body.entry("tags").or_insert_with(|| json!([]));
            if tags.is_null() {
                *tags = json!([]);
            }
            let tags = tags.as_array_mut().ok_or("its `tags` are no list")?;
            tags.push(json!({ "key": key, "value": value }));
        }
        Kind::Rule => {
            let labels = body.entry("labels").or_insert_with(|| json!({}));
            let labels = labels.as_object_mut().ok_or("its `labels` are no object")?;
            labels.insert(key.to_owned(), value.into());
        }
    }
    Ok(())
}

/// Whether something in SigNoz, or a file, carries the mark. SigNoz may change the case of tags.
#[must_use]
pub fn is_marked(kind: Kind, body: &Value) -> bool {
    let (key, value) = MARK;
    let is = |it: &Value, wanted: &str| {
        it.as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted))
    };
    match kind {
        Kind::Dashboard => body["tags"].as_array().is_some_and(|tags| {
            tags.iter().any(|tag| is(&tag["key"], key) && is(&tag["value"], value))
        }),
        Kind::Rule => is(&body["labels"][key], value),
    }
}

/// Has every rule tell these channels, and no policy of SigNoz's.
///
/// # Errors
/// When a rule has no thresholds to put them at.
pub fn tell(documents: &mut [Document], channels: &[String]) -> Result<(), UsageError> {
    for document in documents.iter_mut().filter(|document| document.kind == Kind::Rule) {
        let file = &document.file;
        let thresholds = document.body.pointer_mut("/condition/thresholds/spec");
        let thresholds = thresholds.and_then(Value::as_array_mut).ok_or_else(|| {
            UsageError::new(format!("{file} has no thresholds that a channel could be put at"))
        })?;
        for threshold in thresholds {
            threshold["channels"] = json!(channels);
        }
        let settings = &mut document.body["notificationSettings"];
        if !settings.is_object() {
            *settings = json!({});
        }
        settings["usePolicy"] = false.into();
    }
    Ok(())
}

fn checked(documents: Vec<Document>) -> anyhow::Result<Vec<Document>> {
    let mut files = BTreeMap::new();
    for Document { kind, name, file, .. } in &documents {
        if let Some(other) = files.insert((kind, name), file) {
            bail!(UsageError::new(format!("{other} and {file} are both the {kind} {name:?}")));
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    #[test]
    fn what_the_program_carries_is_found_again_by_name_and_mark() {
        let documents = embedded().unwrap();
        assert!(documents.iter().all(|it| is_marked(it.kind, &it.body)));
        assert!(documents.iter().any(|it| it.kind == Kind::Dashboard && it.name == "skein-fleet"));
        assert!(documents.iter().any(|it| it.kind == Kind::Rule));
    }

    #[test]
    fn a_file_that_could_not_be_found_again_is_refused_with_its_name() {
        let temp = TestDirectory::new();
        let folder = temp.path().join("dashboards");
        fs::create_dir(&folder).unwrap();
        let refusal = |text: &str| {
            fs::write(folder.join("x.json"), text).unwrap();
            in_directory(temp.path()).unwrap_err().to_string()
        };
        for text in ["", "[]", "{}", r#"{"generateName": true, "name": ""}"#, r#"{"name": 7}"#] {
            let refusal = refusal(text);
            assert!(refusal.starts_with("dashboards/x.json is no dashboard: "), "{refusal}");
        }
        assert!(refusal(r#"{"name": "x", "tags": 7}"#).contains("`tags`"));
        fs::write(folder.join("y.json"), r#"{"name": "x"}"#).unwrap();
        let twice = refusal(r#"{"name": "x"}"#);
        assert_eq!(twice, "dashboards/x.json and dashboards/y.json are both the dashboard \"x\"");
        fs::remove_dir_all(&folder).unwrap();
        let empty = in_directory(temp.path()).unwrap_err().to_string();
        assert!(empty.starts_with("there is no dashboards/*.json and no rules/*.json in "));
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let temp = TestDirectory::new();
        fs::create_dir(temp.path().join("rules")).unwrap();
        let most = usize::try_from(FILE_BYTES_MAX).unwrap();
        fs::write(temp.path().join("rules/x.json"), " ".repeat(most + 1)).unwrap();
        let refusal = in_directory(temp.path()).unwrap_err().to_string();
        assert!(refusal.ends_with("is larger than 2097152 bytes"), "{refusal}");
    }

    #[test]
    fn files_without_the_mark_get_it() {
        let marked = |kind, text| document(kind, "x", text).unwrap().body;
        let tag = json!({ "key": "managed_by", "value": "skein" });
        for (text, tags) in [
            (r#"{"name": "x"}"#, json!([tag])),
            (r#"{"name": "x", "tags": null}"#, json!([tag])),
            (
                r#"{"name": "x", "tags": [{"key": "a", "value": "b"}]}"#,
                json!([{ "key": "a", "value": "b" }, tag]),
            ),
            (
                r#"{"name": "x", "tags": [{"key": "Managed_By", "value": "skein"}]}"#,
                json!([{ "key": "Managed_By", "value": "skein" }]),
            ),
        ] {
            assert_eq!(marked(Kind::Dashboard, text)["tags"], tags, "{text}");
        }
        let rule = marked(Kind::Rule, r#"{"alert": "x", "labels": {"severity": "info"}}"#);
        assert_eq!(rule["labels"], json!({ "severity": "info", "managed_by": "skein" }));
    }

    #[test]
    fn channels_replace_policies_at_every_threshold() {
        let mut documents = embedded().unwrap();
        let dashboards: Vec<_> = documents.clone();
        tell(&mut documents, &["ops".to_owned()]).unwrap();
        for (document, before) in documents.iter().zip(&dashboards) {
            if document.kind == Kind::Dashboard {
                assert_eq!(document, before);
                continue;
            }
            let thresholds = document.body["condition"]["thresholds"]["spec"].as_array().unwrap();
            assert!(thresholds.iter().all(|it| it["channels"] == json!(["ops"])));
            assert_eq!(document.body["notificationSettings"]["usePolicy"], false);
        }
        let mut bare = [document(Kind::Rule, "rules/x.json", r#"{"alert": "x"}"#).unwrap()];
        assert!(tell(&mut bare, &["ops".to_owned()]).unwrap_err().to_string().contains("x.json"));
    }
}
