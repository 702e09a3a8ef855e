//! Which statuses of 400 and above are results and not failures.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::super::values::unfit;
use crate::workflow::json_schema::words;

/// The shape of an entry, for people.
pub(super) const EXPECTED: &str = "a number from 100 to 599, or a class like `5xx`";

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The schema of the list, as it is written.
pub(super) fn schema() -> Value {
    let status = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
    json!({ "type": "array", "items": { "anyOf": [status, words(&CLASSES)] } })
}

/// The statuses from 400 on that are results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AcceptStatus(Vec<Accepted>);

impl AcceptStatus {
    /// Whether an answer with this status is a result.
    #[must_use]
    pub fn accepts(&self, status: u16) -> bool {
        status < 400 || self.0.iter().any(|accepted| accepted.covers(status))
    }
}

/// An entry of `accept_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    /// One status: 404.
    Status(u16),
    /// All that begin with this digit: 4 for `4xx`.
    Class(u16),
}

impl Accepted {
    /// An entry as it is written.
    pub(super) fn of(entry: &Value) -> Option<Self> {
        match entry {
            Value::Number(number) => {
                let status = u16::try_from(number.as_u64()?).ok()?;
                (100..600).contains(&status).then_some(Self::Status(status))
            }
            Value::String(text) => (1..)
                .zip(CLASSES)
                .find(|(_, class)| class == text)
                .map(|(class, _)| Self::Class(class)),
            _ => None,
        }
    }

    /// Whether the status is meant.
    fn covers(self, status: u16) -> bool {
        match self {
            Self::Status(accepted) => status == accepted,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl<'de> Deserialize<'de> for Accepted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&Value::deserialize(deserializer)?).ok_or_else(|| unfit(EXPECTED))
    }
}
