//! What `resolve.sql` is given, which finds out what commits did whose reply was lost.

use super::commit_rows::{claim, skip_token};
use super::statement::{rows, statement};
use crate::domain::ids::{LeaseId, RunId, SkipToken};
use crate::domain::state::NodeState;
use crate::domain::trace::SpanId;
use crate::store::engine::{Commit, NewRowState, NodeSpec, RunChange};
use crate::store::row_values::RowValues;

statement! {
    /// Finds out which of these commits are repetitions of ones whose reply was lost, and what those had done.
    struct ResolveCommits<'a> = "sql/resolve.sql" {
        lease: LeaseId,
        commits: Vec<CommitRow<'a>>,
        specs: Vec<SpecRow<'a>>,
    }
}

rows! {
    /// A commit that has flipped nothing.
    struct CommitRow<'a> {
        /// Its place in the batch, from 1.
        commit_ord: i64,
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
        claim: Option<i32>,
        state: NodeState,
        /// Whether its run is to succeed.
        succeeds: bool,
        skip_token: Option<SkipToken>,
    }
}

rows! {
    /// A row or join of such a commit.
    struct SpecRow<'a> {
        /// The place of the commit in the batch, from 1.
        commit_ord: i64,
        node_key: &'a str,
        scope: &'a str,
        publish_span_id: SpanId,
        /// If it was to be claimed.
        span_id: Option<SpanId>,
    }
}

impl<'a> ResolveCommits<'a> {
    /// Of a lease's commits, with the place of each in its batch, from 1.
    pub(super) fn of(lease: LeaseId, commits: &[(i64, &'a Commit)]) -> Self {
        let mut parts =
            Self { lease, commits: Vec::with_capacity(commits.len()), specs: Vec::new() };
        for (ord, commit) in commits {
            parts.commits.push(CommitRow::of(*ord, commit));
            parts.specs.extend(commit.rows.iter().map(|row| {
                let is_claimed = row.state == NewRowState::Claimed;
                SpecRow::of(*ord, &row.spec, row.span.filter(|_| is_claimed))
            }));
            let joins = commit.tokens.iter();
            parts.specs.extend(joins.map(|join| SpecRow::of(*ord, &join.spec, join.keep)));
        }
        parts
    }
}

impl<'a> CommitRow<'a> {
    fn of(commit_ord: i64, commit: &'a Commit) -> Self {
        Self {
            commit_ord,
            run_id: commit.key.run,
            node_key: &commit.key.node,
            scope: &commit.key.scope,
            claim: claim(commit.from),
            state: RowValues::of_outcome(&commit.outcome).state,
            succeeds: matches!(commit.run, RunChange::Succeed { .. }),
            skip_token: skip_token(commit.from),
        }
    }
}

impl<'a> SpecRow<'a> {
    fn of(commit_ord: i64, spec: &'a NodeSpec, span_id: Option<SpanId>) -> Self {
        Self {
            commit_ord,
            node_key: &spec.node,
            scope: &spec.scope,
            publish_span_id: spec.publish_span,
            span_id,
        }
    }
}
