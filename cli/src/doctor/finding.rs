//! What a check has found.

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is as it is to be.
    Ok,
    /// It works, and something may come of it.
    Warning,
    /// It does not work.
    Failed,
    /// It was not asked.
    Skipped,
}

/// What one check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was asked, in a word or two.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What is the case, in one line.
    pub what: String,
    /// What to do about it, in one line.
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it is to be.
    pub fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, what: what.into(), remedy: None }
    }

    /// It works, and something may come of it.
    pub fn warning(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name, outcome: Outcome::Warning, what: what.into(), remedy }
    }

    /// It does not work.
    pub fn failed(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name, outcome: Outcome::Failed, what: what.into(), remedy }
    }

    /// It was not asked.
    pub fn skipped(name: &'static str, what: impl Into<String>, remedy: Option<&str>) -> Self {
        let remedy = remedy.map(str::to_owned);
        Self { name, outcome: Outcome::Skipped, what: what.into(), remedy }
    }
}
