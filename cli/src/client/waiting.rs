//! What a node waits for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

/// What a node waits for, beside a time.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitingFor {
    /// Somebody's decision.
    Decision(PendingDecision),
    /// A budget; without what it is short of where that is only what other calls have reserved.
    Budget(Option<ShortOf>),
    /// Its turn at a provider of models.
    Rate {
        /// The provider.
        provider: String,
    },
}

/// A call that somebody has to allow.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PendingDecision {
    /// The number of its step.
    pub step: u32,
    /// The tool.
    pub tool: String,
    /// What it would be called with.
    #[serde(default)]
    pub arguments: Value,
    /// When no decision counts as a refusal.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What of a budget there is too little of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ShortOf {
    /// `run`, `day` or `month`.
    pub period: String,
    /// `usd`, `tokens` or `steps`.
    pub resource: String,
    /// How much there is in all.
    pub limit: Number,
    /// How much of it is spent.
    pub spent: Number,
    /// How much the next call may take.
    pub needed: Number,
}

impl WaitingFor {
    /// Reads it. What is not known here, because the server is a newer one, is none.
    fn read(shown: Value) -> Option<Self> {
        match shown["type"].as_str()? {
            "decision" => serde_json::from_value(shown).ok().map(Self::Decision),
            "budget" if shown.get("period").is_none() => Some(Self::Budget(None)),
            "budget" => serde_json::from_value(shown).ok().map(|short| Self::Budget(Some(short))),
            "rate" => Some(Self::Rate { provider: shown["provider"].as_str()?.to_owned() }),
            _ => None,
        }
    }
}

/// Reads what a node waits for as a part of it: one that waits for something new is a node all the same.
pub(super) fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WaitingFor>, D::Error> {
    Ok(Option::<Value>::deserialize(from)?.and_then(WaitingFor::read))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_no_reason_to_show_nothing() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Node {
            #[serde(default, deserialize_with = "known")]
            waiting_for: Option<WaitingFor>,
        }
        let read = |value: Value| serde_json::from_value::<Node>(value).unwrap().waiting_for;
        for shown in [json!(null), json!({ "type": "signal" }), json!("soon"), json!([1])] {
            assert_eq!(read(json!({ "waiting_for": shown })), None, "{shown}");
        }
        let step = json!({ "type": "decision", "step": "four", "tool": "t" });
        assert_eq!(read(json!({ "waiting_for": step })), None);
        assert_eq!(read(json!({})), None);
        let budget = json!({ "type": "budget" });
        assert_eq!(read(json!({ "waiting_for": budget })), Some(WaitingFor::Budget(None)));
        let short = json!({ "type": "budget", "period": "day", "resource": "usd", "limit": 0.5, "spent": 0,
            "needed": 0.75, "renews_at": null });
        let Some(WaitingFor::Budget(Some(short))) = read(json!({ "waiting_for": short })) else {
            panic!("it is known");
        };
        assert_eq!((short.limit.as_f64(), short.spent.as_u64()), (Some(0.5), Some(0)));
    }
}
