//! What has to be done so that SigNoz is as the documents say.

use std::fmt;

use super::api::{Existing, Signoz};
use super::documents::{Document, Kind};
use super::error::SignozError;

/// What is wanted of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// That they are there, as they are.
    Present,
    /// That they are gone.
    Absent,
}

/// What is to be done about one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// There is none: make it.
    Create,
    /// There is this one: replace it.
    Update(String),
    /// There is this one: delete it.
    Delete(String),
    /// It is as wanted.
    Nothing,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update(_) => "update",
            Self::Delete(_) => "delete",
            Self::Nothing => "leave",
        })
    }
}

/// Something that is in the way, and that a person has to decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What it is in the way of.
    pub document: String,
    /// What it is, and what to do.
    pub why: String,
}

/// What has to be done, and what is in the way. With conflicts nothing is done at all.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order of the documents.
    pub steps: Vec<(Document, Action)>,
    /// In the same order.
    pub conflicts: Vec<Conflict>,
}

impl Plan {
    /// Compares the documents with what is in SigNoz.
    ///
    /// # Errors
    /// When SigNoz does not list what it has.
    pub async fn make(
        signoz: &Signoz,
        documents: Vec<Document>,
        goal: Goal,
    ) -> Result<Self, SignozError> {
        let mut plan = Self::default();
        let (mut existing, mut listed) = (Vec::new(), None);
        for document in documents {
            if listed != Some(document.kind) {
                existing = signoz.list(document.kind).await?;
                listed = Some(document.kind);
            }
            match decide(&document, &existing, goal) {
                Ok(action) => plan.steps.push((document, action)),
                Err(why) => {
                    plan.conflicts.push(Conflict { document: document.to_string(), why });
                }
            }
        }
        Ok(plan)
    }
}

fn decide(document: &Document, existing: &[Existing], goal: Goal) -> Result<Action, String> {
    let same: Vec<_> = existing.iter().filter(|it| it.name == document.name).collect();
    let (ours, others): (Vec<&Existing>, Vec<&Existing>) =
        same.into_iter().partition(|it| it.is_marked);
    match (&ours[..], goal) {
        ([], Goal::Absent) => Ok(Action::Nothing),
        ([], Goal::Present) => match &others[..] {
            [] => Ok(Action::Create),
            // Rules of one title are confused by people, too.
            [other, ..] => Err(format!(
                "SigNoz has one of that name that Skein has not made ({}): rename or delete that one",
                other.id
            )),
        },
        ([one], _) if one.is_locked => {
            Err(format!("it is locked in SigNoz ({}): unlock it there", one.id))
        }
        ([one], Goal::Present) => Ok(Action::Update(one.id.clone())),
        ([one], Goal::Absent) => Ok(Action::Delete(one.id.clone())),
        (several, _) => {
            let ids: Vec<_> = several.iter().map(|it| it.id.as_str()).collect();
            let kind = match document.kind {
                Kind::Dashboard => "dashboards",
                Kind::Rule => "rules",
            };
            Err(format!(
                "SigNoz has {} {kind} of that name that are Skein's ({}): delete all but one",
                ids.len(),
                ids.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn one(id: &str, is_marked: bool, is_locked: bool) -> Existing {
        Existing { id: id.to_owned(), name: "x".to_owned(), is_marked, is_locked }
    }

    #[test]
    fn only_what_is_skeins_alone_and_free_is_touched() {
        let document = Document {
            kind: Kind::Rule,
            name: "x".to_owned(),
            file: "rules/x.json".to_owned(),
            body: Value::Null,
        };
        let other = Existing { name: "y".to_owned(), ..one("0", true, false) };
        let decide = |existing: &[Existing], goal| {
            let existing = [existing, std::slice::from_ref(&other)].concat();
            decide(&document, &existing, goal)
        };
        assert_eq!(decide(&[], Goal::Present), Ok(Action::Create));
        assert_eq!(decide(&[], Goal::Absent), Ok(Action::Nothing));
        let ours = [one("1", true, false)];
        assert_eq!(decide(&ours, Goal::Present), Ok(Action::Update("1".to_owned())));
        assert_eq!(decide(&ours, Goal::Absent), Ok(Action::Delete("1".to_owned())));
        // Somebody else's of the same name does not take ours away, and is left alone.
        let both = [one("1", true, false), one("2", false, false)];
        assert_eq!(decide(&both, Goal::Present), Ok(Action::Update("1".to_owned())));
        assert_eq!(decide(&both[1..], Goal::Absent), Ok(Action::Nothing));
        let refused = |existing: &[Existing], goal| decide(existing, goal).unwrap_err();
        assert!(refused(&both[1..], Goal::Present).contains("has not made (2)"));
        let twice = [one("1", true, false), one("2", true, false)];
        for goal in [Goal::Present, Goal::Absent] {
            assert!(refused(&twice, goal).contains("2 rules of that name that are Skein's (1, 2)"));
            assert!(refused(&[one("1", true, true)], goal).contains("locked"));
        }
    }
}
