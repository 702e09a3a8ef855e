//! What `commit.sql` is given: the parts of a batch of commits, a table a kind.

use super::statement::{rows, statement};
use crate::domain::ids::{LeaseId, RunId, SkipToken};
use crate::domain::outcome::WaitFor;
use crate::domain::state::NodeState;
use crate::domain::trace::SpanId;
use crate::store::engine::{
    Commit, CommitFrom, JoinTokens, NewEvent, NewRow as EngineRow, NodeSpec, RunChange,
};
use crate::store::row_values::{RowValues, failure_json};
use crate::store::timing::{DEADLINE_GRACE, FIRST_WAKE, LONG_WAIT, RECHECK_AFTER, millis};

statement! {
    /// Applies a batch of commits.
    struct CommitRows<'a> = "sql/commit.sql" {
        lease: LeaseId,
        /// After a node's timeout.
        grace_ms: i64,
        /// Of a queued row.
        first_wake_ms: i64,
        /// A wait that may suspend a run.
        long_wait_ms: i64,
        /// How soon the run is rechecked for that.
        recheck_after_ms: i64,
        /// One for each commit, in order.
        outcomes: Vec<OutcomeRow<'a>>,
        new_rows: Vec<NewRow<'a>>,
        join_tokens: Vec<TokensRow<'a>>,
        effects: Vec<EffectRow<'a>>,
        events: Vec<EventRow<'a>>,
    }
}

rows! {
    /// A row that flips.
    struct OutcomeRow<'a> {
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
        /// The claim number that it must have; one that is skipped has none.
        claim: Option<i32>,
        state: NodeState,
        input: Option<&'a str>,
        output: Option<&'a str>,
        error: Option<String>,
        delay_ms: Option<i64>,
        skip_token: Option<SkipToken>,
        /// What it waits for besides a time.
        waiting_for: Option<String>,
        /// Whether something from outside ends that.
        is_outside: bool,
    }
}

rows! {
    /// A new row.
    struct NewRow<'a> {
        /// The place of its commit, from 1.
        commit_ord: i64,
        node_key: &'a str,
        scope: &'a str,
        kind: &'a str,
        state: NodeState,
        timeout_ms: i64,
        publish_span_id: SpanId,
        span_id: Option<SpanId>,
        input: Option<&'a str>,
        output: Option<&'a str>,
        error: Option<String>,
        delay_ms: Option<i64>,
    }
}

rows! {
    /// Tokens for a join.
    struct TokensRow<'a> {
        /// The place of their commit, from 1.
        commit_ord: i64,
        node_key: &'a str,
        scope: &'a str,
        kind: &'a str,
        timeout_ms: i64,
        publish_span_id: SpanId,
        fan_in: i32,
        arrived: i32,
        live: i32,
        always: bool,
        keep_span_id: Option<SpanId>,
    }
}

rows! {
    /// What a commit means for its run.
    struct EffectRow<'a> {
        /// The place of the commit, from 1.
        commit_ord: i64,
        /// `fail` or `succeed`.
        effect: &'a str,
        output: Option<&'a str>,
        error: Option<String>,
    }
}

rows! {
    /// A log row.
    struct EventRow<'a> {
        /// The place of its commit, from 1.
        commit_ord: i64,
        /// Whether it is written only if the commit has ended its run.
        at_end: bool,
        node_key: Option<&'a str>,
        scope: Option<&'a str>,
        level: &'a str,
        event: &'a str,
        message: &'a str,
        data: Option<&'a str>,
        span_id: Option<SpanId>,
    }
}

impl<'a> CommitRows<'a> {
    /// The statement that applies a batch for a lease.
    pub(super) fn of(lease: LeaseId, batch: &'a [Commit]) -> Self {
        let mut parts = Self {
            lease,
            grace_ms: millis(DEADLINE_GRACE),
            first_wake_ms: millis(FIRST_WAKE),
            long_wait_ms: millis(LONG_WAIT),
            recheck_after_ms: millis(RECHECK_AFTER),
            outcomes: Vec::with_capacity(batch.len()),
            new_rows: Vec::new(),
            join_tokens: Vec::new(),
            effects: Vec::new(),
            events: Vec::new(),
        };
        for (commit, ord) in batch.iter().zip(1..) {
            parts.outcomes.push(OutcomeRow::of(commit));
            parts.new_rows.extend(commit.rows.iter().map(|row| NewRow::of(ord, row)));
            parts.join_tokens.extend(commit.tokens.iter().map(|join| TokensRow::of(ord, join)));
            parts.effects.extend(EffectRow::of(ord, &commit.run));
            parts.events.extend(commit.events.iter().map(|event| EventRow::of(ord, false, event)));
            if let RunChange::Succeed { events, .. } = &commit.run {
                parts.events.extend(events.iter().map(|event| EventRow::of(ord, true, event)));
            }
        }
        parts
    }
}

impl<'a> OutcomeRow<'a> {
    fn of(commit: &'a Commit) -> Self {
        let values = RowValues::of_outcome(&commit.outcome);
        Self {
            run_id: commit.key.run,
            node_key: &commit.key.node,
            scope: &commit.key.scope,
            claim: claim(commit.from),
            state: values.state,
            input: values.input,
            output: values.output,
            error: values.error_json(),
            delay_ms: values.due_in.map(millis),
            skip_token: skip_token(commit.from),
            waiting_for: values.waiting_for_json(),
            is_outside: values.waiting_for.is_some_and(WaitFor::is_outside),
        }
    }
}

impl<'a> NewRow<'a> {
    fn of(commit_ord: i64, row: &'a EngineRow) -> Self {
        let NodeSpec { node, scope, kind, timeout, publish_span } = &row.spec;
        let values = RowValues::of_row(&row.state);
        Self {
            commit_ord,
            node_key: node,
            scope,
            kind,
            state: values.state,
            timeout_ms: millis(*timeout),
            publish_span_id: *publish_span,
            span_id: row.span,
            input: values.input,
            output: values.output,
            error: values.error_json(),
            delay_ms: values.due_in.map(millis),
        }
    }
}

impl<'a> TokensRow<'a> {
    fn of(commit_ord: i64, tokens: &'a JoinTokens) -> Self {
        let NodeSpec { node, scope, kind, timeout, publish_span } = &tokens.spec;
        Self {
            commit_ord,
            node_key: node,
            scope,
            kind,
            timeout_ms: millis(*timeout),
            publish_span_id: *publish_span,
            fan_in: integer(tokens.fan_in),
            arrived: integer(tokens.arrived),
            live: integer(tokens.live),
            always: tokens.always,
            keep_span_id: tokens.keep,
        }
    }
}

impl<'a> EffectRow<'a> {
    /// None of a commit after which the run goes on.
    fn of(commit_ord: i64, effect: &'a RunChange) -> Option<Self> {
        match effect {
            RunChange::None => None,
            RunChange::Succeed { output, .. } => {
                Some(Self { commit_ord, effect: "succeed", output: Some(output), error: None })
            }
            RunChange::Fail(failure) => {
                let error = Some(failure_json(failure));
                Some(Self { commit_ord, effect: "fail", output: None, error })
            }
        }
    }
}

impl<'a> EventRow<'a> {
    pub(super) fn of(commit_ord: i64, at_end: bool, event: &'a NewEvent) -> Self {
        Self {
            commit_ord,
            at_end,
            node_key: event.node.as_deref(),
            scope: event.scope.as_deref(),
            level: event.level,
            event: event.event,
            message: &event.message,
            data: event.data.as_deref(),
            span_id: event.span,
        }
    }
}

/// The claim number of an attempt; a skip has none.
pub(super) fn claim(from: CommitFrom) -> Option<i32> {
    match from {
        CommitFrom::Running { claim } => Some(integer(claim)),
        CommitFrom::Skipping { .. } => None,
    }
}

/// The token of a skip; an attempt has none.
pub(super) fn skip_token(from: CommitFrom) -> Option<SkipToken> {
    match from {
        CommitFrom::Running { .. } => None,
        CommitFrom::Skipping { token } => Some(token),
    }
}

pub(super) fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
