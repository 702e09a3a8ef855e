//! The nodes of a document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::domain::fault::nearest;
use crate::domain::fields::{Faults, Fields, shown};
use crate::domain::graph::NodeIx;
use crate::domain::kind::{Effect, NodeKind, OnUncertain};
use crate::domain::limits::{
    ATTEMPTS_MAX, BACKOFF_MAX, NAME_CHARS_MAX, NODE_TIMEOUT_DEFAULT, NODE_TIMEOUT_MAX,
};
use crate::domain::params::{self, NodeParams};
use crate::domain::plan::OnError;
use crate::domain::retry::RetryPolicy;
use crate::expression::Template;

const FIELDS: &[&str] =
    &["id", "type", "params", "retry", "timeout", "on_error", "default", "on_uncertain"];

/// A node as far as it makes sense.
#[derive(Debug)]
pub(super) struct DraftNode {
    pub(super) pointer: String,
    pub(super) key: Option<Arc<str>>,
    pub(super) kind: Option<NodeKind>,
    pub(super) params: Option<NodeParams>,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Duration,
    /// Absent when it makes no sense.
    pub(super) on_error: Option<OnError>,
    pub(super) on_uncertain: OnUncertain,
}

impl DraftNode {
    /// Its id, or where it is, for messages.
    pub(super) fn name(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.pointer)
    }
}

pub(super) fn read(nodes: &[Value], faults: &mut Faults) -> Vec<DraftNode> {
    let node = |(at, value)| node(value, format!("/nodes/{at}"), faults);
    nodes.iter().enumerate().map(node).collect()
}

/// The places of the nodes by id; the first of those that share one.
pub(super) fn index(nodes: &[DraftNode], faults: &mut Faults) -> HashMap<Arc<str>, NodeIx> {
    let mut index: HashMap<Arc<str>, NodeIx> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let Some(key) = &node.key else { continue };
        match index.entry(Arc::clone(key)) {
            Entry::Vacant(place) => {
                place.insert(at);
            }
            Entry::Occupied(first) => {
                let hint = format!("the first one is at {}", nodes[*first.get()].pointer);
                faults.add(format!("{}/id", node.pointer), format!("a second node `{key}`"), hint);
            }
        }
    }
    index
}

fn node(value: &Value, pointer: String, faults: &mut Faults) -> DraftNode {
    let mut draft = DraftNode {
        pointer: pointer.clone(),
        key: None,
        kind: None,
        params: None,
        retry: RetryPolicy::default(),
        timeout: NODE_TIMEOUT_DEFAULT,
        on_error: Some(OnError::Fail),
        on_uncertain: OnUncertain::Fail,
    };
    let Some(fields) = Fields::open(value, pointer, FIELDS, faults) else { return draft };
    draft.key = key(&fields, faults);
    draft.kind = kind(&fields, faults);
    if let Some(kind) = draft.kind {
        let nothing = Value::Object(serde_json::Map::new());
        let given = fields.get("params").unwrap_or(&nothing);
        let missing = !fields.has("params");
        // A missing parameter of missing parameters is a fault of the node.
        let pointer = if missing { fields.pointer.clone() } else { fields.at("params") };
        draft.params = params::compile(kind, given, &pointer, faults);
    }
    draft.timeout = timeout(&fields, faults);
    let branches = draft.params.as_ref().map_or(&[][..], |params| &params.branches);
    draft.on_error = on_error(&fields, branches, faults);
    let effect =
        draft.kind.map(|kind| params::effect(kind, fields.get("params").unwrap_or(&Value::Null)));
    draft.retry = retry(&fields, effect, faults);
    draft.on_uncertain = on_uncertain(&fields, effect, faults);
    draft
}

fn key(fields: &Fields<'_>, faults: &mut Faults) -> Option<Arc<str>> {
    const HINT: &str = "a letter, then letters, digits and `_`, so that `nodes.<id>` can name it";
    fields.required("id", HINT, faults)?;
    let id = fields.text("id", faults)?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(is_part) {
        faults.add(fields.at("id"), format!("{} is no id of a node", shown(id)), HINT);
        return None;
    }
    if id.len() > NAME_CHARS_MAX {
        let message = format!("the id has {} characters", id.len());
        faults.add(fields.at("id"), message, format!("at most {NAME_CHARS_MAX}"));
        return None;
    }
    Some(id.into())
}

fn kind(fields: &Fields<'_>, faults: &mut Faults) -> Option<NodeKind> {
    let names = NodeKind::ALL.iter().map(|kind| kind.as_str());
    let all = names.clone().collect::<Vec<_>>().join(", ");
    fields.required("type", &format!("one of {all}"), faults)?;
    let word = fields.text("type", faults)?;
    let kind = NodeKind::parse(word);
    if kind.is_none() {
        let hint = nearest(word, names).map_or_else(
            || format!("one of {all}"),
            |name| format!("did you mean `{name}`? There are {all}"),
        );
        faults.add(fields.at("type"), format!("unknown type of node {}", shown(word)), hint);
    }
    kind
}

fn timeout(fields: &Fields<'_>, faults: &mut Faults) -> Duration {
    match fields.duration("timeout", NODE_TIMEOUT_MAX, faults) {
        Some(Duration::ZERO) => {
            faults.add(fields.at("timeout"), "`timeout` is nothing", "at least `1ms`");
            NODE_TIMEOUT_DEFAULT
        }
        Some(timeout) => timeout,
        None => NODE_TIMEOUT_DEFAULT,
    }
}

/// `branches` are those that the node chooses from, none where its kind chooses none.
fn on_error(fields: &Fields<'_>, branches: &[Arc<str>], faults: &mut Faults) -> Option<OnError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Fail,
        Continue,
        Branch,
    }
    let words = [("fail", Word::Fail), ("continue", Word::Continue), ("branch", Word::Branch)];
    let word = match fields.has("on_error") {
        true => fields.word("on_error", &words, faults)?,
        false => Word::Fail,
    };
    let default = fields.get("default");
    if default.is_some() && word != Word::Continue {
        let hint = "`default` is what the node yields under `on_error: continue`";
        faults.add(fields.at("default"), "`default` without `on_error: continue`", hint);
    }
    match (word, default) {
        (Word::Fail, _) => Some(OnError::Fail),
        (Word::Branch, _) => Some(OnError::Branch),
        (Word::Continue, Some(value)) => {
            let template = faults.keep(Template::parse(value, &fields.at("default")))?;
            if !template.is_constant() {
                let hint = "it stands in when something has failed already; write a constant";
                faults.add(fields.at("default"), "`default` cannot hold expressions", hint);
            }
            let branch = standing_in(value, branches);
            if branch.is_none() && !branches.is_empty() {
                let hint =
                    format!("write `{{ branch: NAME }}` with one of {}", branches.join(", "));
                faults.add(fields.at("default"), "`default` names no branch to go on with", hint);
            }
            Some(OnError::Continue { output: value.clone(), branch })
        }
        (Word::Continue, None) => {
            let hint = "write the value that the node is to yield when it fails, `null` if none";
            let message = "`on_error: continue` without a `default`";
            faults.add(fields.at("on_error"), message, hint);
            None
        }
    }
}

/// The branch that counts as chosen when a node that chooses one has failed.
fn standing_in(default: &Value, branches: &[Arc<str>]) -> Option<Arc<str>> {
    let name = default.get("branch")?.as_str()?;
    branches.iter().find(|branch| ***branch == *name).cloned()
}

fn retry(fields: &Fields<'_>, effect: Option<Effect>, faults: &mut Faults) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    let Some(value) = fields.get("retry") else { return policy };
    if effect == Some(Effect::Pure) {
        let hint = "it would compute the same again; leave `retry` out";
        faults.add(fields.at("retry"), "`retry` on a node that only computes", hint);
        return policy;
    }
    let known = ["max_attempts", "backoff", "max_backoff", "max_retry_after"];
    let Some(retry) = Fields::open(value, fields.at("retry"), &known, faults) else {
        return policy;
    };
    retry.required("max_attempts", "attempts in all, the first included", faults);
    if let Some(attempts) = retry.number("max_attempts", (1, ATTEMPTS_MAX), faults) {
        policy.max_attempts = attempts;
    }
    if let Some(backoff) = retry.duration("backoff", BACKOFF_MAX, faults) {
        policy.backoff = backoff;
        policy.max_backoff = policy.max_backoff.max(backoff);
    }
    if let Some(max) = retry.duration("max_backoff", BACKOFF_MAX, faults) {
        if max < policy.backoff {
            let hint = "the wait starts at `backoff` and doubles up to `max_backoff`";
            faults.add(retry.at("max_backoff"), "`max_backoff` is shorter than `backoff`", hint);
        }
        policy.max_backoff = max;
    }
    if let Some(max) = retry.duration("max_retry_after", BACKOFF_MAX, faults) {
        policy.max_retry_after = max;
    }
    policy
}

fn on_uncertain(fields: &Fields<'_>, effect: Option<Effect>, faults: &mut Faults) -> OnUncertain {
    let words = [("retry", OnUncertain::Retry), ("fail", OnUncertain::Fail)];
    let word = fields.word("on_uncertain", &words, faults);
    if fields.has("on_uncertain") && effect.is_some_and(|effect| effect != Effect::Unsafe) {
        let hint = "a crash in it is safe to repeat; leave `on_uncertain` out";
        faults.add(fields.at("on_uncertain"), "`on_uncertain` has no meaning here", hint);
    }
    word.unwrap_or(OnUncertain::Fail)
}
