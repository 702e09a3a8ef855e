//! The nodes of a document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::domain::diagnostic::nearest;
use crate::domain::diagnostic::{Diagnostics, quoted};
use crate::domain::graph::NodeIx;
use crate::domain::kind::{Effect, NodeKind, OnUncertain};
use crate::domain::limits::{
    ATTEMPTS_MAX, BACKOFF_MAX, NAME_CHARS_MAX, NODE_TIMEOUT_DEFAULT, NODE_TIMEOUT_MAX,
};
use crate::domain::retry::RetryPolicy;
use crate::expression::{Roots, Template};
use crate::workflow::fields::{Fields, as_texts};
use crate::workflow::params::{self, NodeParams};
use crate::workflow::plan::OnError;

/// What a node has.
pub(super) const FIELDS: &[&str] =
    &["id", "type", "params", "retry", "timeout", "on_error", "default", "on_uncertain"];

/// What a node's `retry` has.
pub(super) const RETRY_FIELDS: &[&str] =
    &["max_attempts", "backoff", "max_backoff", "max_retry_after"];

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

    /// Whether it is of a kind that is there to fail.
    pub(super) fn always_fails(&self) -> bool {
        self.kind.is_some_and(params::always_fails)
    }
}

pub(super) fn read(nodes: &[Value], diagnostics: &mut Diagnostics) -> Vec<DraftNode> {
    let node = |(at, value)| node(value, format!("/nodes/{at}"), diagnostics);
    nodes.iter().enumerate().map(node).collect()
}

/// The indexes of the nodes by id; the first of those that share one.
pub(super) fn index(
    nodes: &[DraftNode],
    diagnostics: &mut Diagnostics,
) -> HashMap<Arc<str>, NodeIx> {
    let mut index: HashMap<Arc<str>, NodeIx> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let Some(key) = &node.key else { continue };
        match index.entry(Arc::clone(key)) {
            Entry::Vacant(vacant) => {
                vacant.insert(at);
            }
            Entry::Occupied(first) => {
                let hint = format!("the first one is at {}", nodes[*first.get()].pointer);
                diagnostics.add(
                    format!("{}/id", node.pointer),
                    format!("a second node `{key}`"),
                    hint,
                );
            }
        }
    }
    index
}

fn node(value: &Value, pointer: String, diagnostics: &mut Diagnostics) -> DraftNode {
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
    let Some(fields) = Fields::open(value, pointer, FIELDS, diagnostics) else { return draft };
    draft.key = key(&fields, diagnostics);
    draft.kind = kind(&fields, diagnostics);
    if let Some(kind) = draft.kind {
        let nothing = Value::Object(serde_json::Map::new());
        let given = fields.get("params").unwrap_or(&nothing);
        let missing = !fields.has("params");
        // A missing parameter of missing parameters is a diagnostic of the node.
        let pointer = if missing { fields.pointer.clone() } else { fields.at("params") };
        draft.params = params::compile(kind, given, &pointer, diagnostics);
    }
    let usual = draft.kind.map_or(NODE_TIMEOUT_DEFAULT, params::default_timeout);
    draft.timeout = timeout(&fields, usual, diagnostics);
    let branches = draft.params.as_ref().map_or(&[][..], |params| &params.branches);
    draft.on_error = on_error(&fields, draft.always_fails(), branches, diagnostics);
    let effect =
        draft.kind.map(|kind| params::effect(kind, fields.get("params").unwrap_or(&Value::Null)));
    draft.retry = retry(&fields, effect, draft.always_fails(), diagnostics);
    draft.on_uncertain = on_uncertain(&fields, effect, diagnostics);
    draft
}

fn key(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Arc<str>> {
    const HINT: &str = "a letter, then letters, digits and `_`, so that `nodes.<id>` can name it";
    fields.required("id", HINT, diagnostics)?;
    let id = fields.text("id", diagnostics)?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(is_part) {
        diagnostics.add(fields.at("id"), format!("{} is no id of a node", quoted(id)), HINT);
        return None;
    }
    if id.len() > NAME_CHARS_MAX {
        let message = format!("the id has {} characters", id.len());
        diagnostics.add(fields.at("id"), message, format!("at most {NAME_CHARS_MAX}"));
        return None;
    }
    Some(id.into())
}

fn kind(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<NodeKind> {
    let all = NodeKind::WORDS.join(", ");
    fields.required("type", &format!("one of {all}"), diagnostics)?;
    let word = fields.text("type", diagnostics)?;
    let kind = word.parse().ok();
    if kind.is_none() {
        let hint = nearest(word, NodeKind::WORDS.iter().copied()).map_or_else(
            || format!("one of {all}"),
            |name| format!("did you mean `{name}`? There are {all}"),
        );
        diagnostics.add(fields.at("type"), format!("unknown type of node {}", quoted(word)), hint);
    }
    kind
}

fn timeout(fields: &Fields<'_>, usual: Duration, diagnostics: &mut Diagnostics) -> Duration {
    match fields.duration("timeout", NODE_TIMEOUT_MAX, diagnostics) {
        Some(Duration::ZERO) => {
            diagnostics.add(fields.at("timeout"), "`timeout` is nothing", "at least `1ms`");
            usual
        }
        Some(timeout) => timeout,
        None => usual,
    }
}

/// `branches` are those that the node chooses from, none where its kind chooses none.
fn on_error(
    fields: &Fields<'_>,
    always_fails: bool,
    branches: &[Arc<str>],
    diagnostics: &mut Diagnostics,
) -> Option<OnError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Fail,
        Continue,
        Branch,
    }
    let words = [("fail", Word::Fail), ("continue", Word::Continue), ("branch", Word::Branch)];
    let word = match fields.has("on_error") {
        true => fields.word("on_error", &words, diagnostics)?,
        false => Word::Fail,
    };
    if always_fails && word != Word::Fail {
        let hint = "leave `on_error` out: the node is there to bring its run down";
        diagnostics.add(fields.at("on_error"), "`on_error` on a node that always fails", hint);
        return Some(OnError::Fail);
    }
    let default = fields.get("default");
    if default.is_some() && word != Word::Continue {
        let hint = "`default` is what the node yields under `on_error: continue`";
        diagnostics.add(fields.at("default"), "`default` without `on_error: continue`", hint);
    }
    match (word, default) {
        (Word::Fail, _) => Some(OnError::Fail),
        (Word::Branch, _) => Some(OnError::Branch),
        (Word::Continue, Some(value)) => {
            let pointer = fields.at("default");
            let template = Template::read(value, &pointer, Roots::Run, diagnostics);
            if !template.is_constant() {
                let hint = "it stands in when something has failed already; write a constant";
                diagnostics.add(fields.at("default"), "`default` cannot hold expressions", hint);
            }
            let branch = standing_in(value, branches);
            if branch.is_none() && !branches.is_empty() {
                let hint = format!("write `{{ branch: NAME }}` with one of {}", as_texts(branches));
                diagnostics.add(
                    fields.at("default"),
                    "`default` names no branch to go on with",
                    hint,
                );
            }
            Some(OnError::Continue { output: value.clone(), branch })
        }
        (Word::Continue, None) => {
            let hint = "write the value that the node is to yield when it fails, `null` if none";
            let message = "`on_error: continue` without a `default`";
            diagnostics.add(fields.at("on_error"), message, hint);
            None
        }
    }
}

/// The branch that counts as chosen when a node that chooses one has failed.
fn standing_in(default: &Value, branches: &[Arc<str>]) -> Option<Arc<str>> {
    let name = default.get("branch")?.as_str()?;
    branches.iter().find(|branch| ***branch == *name).cloned()
}

fn retry(
    fields: &Fields<'_>,
    effect: Option<Effect>,
    always_fails: bool,
    diagnostics: &mut Diagnostics,
) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    let Some(value) = fields.get("retry") else { return policy };
    if always_fails {
        let hint = "it would fail again; leave `retry` out";
        diagnostics.add(fields.at("retry"), "`retry` on a node that always fails", hint);
        return policy;
    }
    if effect == Some(Effect::Pure) {
        let hint = "it would compute the same again; leave `retry` out";
        diagnostics.add(fields.at("retry"), "`retry` on a node that only computes", hint);
        return policy;
    }
    let Some(retry) = Fields::open(value, fields.at("retry"), RETRY_FIELDS, diagnostics) else {
        return policy;
    };
    retry.required("max_attempts", "attempts in all, the first included", diagnostics);
    if let Some(attempts) = retry.number("max_attempts", (1, ATTEMPTS_MAX), diagnostics) {
        policy.max_attempts = attempts;
    }
    if let Some(backoff) = retry.duration("backoff", BACKOFF_MAX, diagnostics) {
        policy.backoff = backoff;
        policy.max_backoff = policy.max_backoff.max(backoff);
    }
    if let Some(max) = retry.duration("max_backoff", BACKOFF_MAX, diagnostics) {
        if max < policy.backoff {
            let hint = "the wait starts at `backoff` and doubles up to `max_backoff`";
            diagnostics.add(
                retry.at("max_backoff"),
                "`max_backoff` is shorter than `backoff`",
                hint,
            );
        }
        policy.max_backoff = max;
    }
    if let Some(max) = retry.duration("max_retry_after", BACKOFF_MAX, diagnostics) {
        policy.max_retry_after = max;
    }
    policy
}

fn on_uncertain(
    fields: &Fields<'_>,
    effect: Option<Effect>,
    diagnostics: &mut Diagnostics,
) -> OnUncertain {
    let words = [("retry", OnUncertain::Retry), ("fail", OnUncertain::Fail)];
    let word = fields.word("on_uncertain", &words, diagnostics);
    if fields.has("on_uncertain") && effect.is_some_and(|effect| effect != Effect::Unsafe) {
        let hint = "a crash in it is safe to repeat; leave `on_uncertain` out";
        diagnostics.add(fields.at("on_uncertain"), "`on_uncertain` has no meaning here", hint);
    }
    word.unwrap_or(OnUncertain::Fail)
}
