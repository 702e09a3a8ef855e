//! The spans of a run, made once more from its rows.

use std::collections::HashMap;
use std::sync::Arc;

use skein_shared::broker::{Address, DEFAULT_POOL};
use skein_shared::domain::ids::{ActivationKey, NodeKey, RunId};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::traced::{AttemptPosition, TracedAttempt, TracedNode, TracedRun};
use skein_shared::telemetry::spans::{
    RebuiltSpan, rebuilt_attempt, rebuilt_run, rebuilt_segment, rebuilt_step,
};

use crate::app::App;
use crate::limits::SPAN_ROWS_MAX;
use crate::path_parameters::no_run;
use crate::problem::Problem;
use crate::span_position::SpanPosition;

/// A page of spans, and where the next one begins; absent on the last one.
pub(crate) type SpanPage = (Vec<RebuiltSpan>, Option<SpanPosition>);

/// The spans of some rows of a run, from a position on. On the first page are those of the run itself.
///
/// # Errors
/// When there is no such run of the tenant's, or the store does not answer.
pub(crate) async fn rebuild(
    app: &App,
    tenant: &Identity,
    run: RunId,
    from: SpanPosition,
) -> Result<SpanPage, Problem> {
    let found = app.store.traced_run(tenant, run).await?.ok_or_else(|| no_run(run))?;
    let rebuilding =
        Rebuilding { app, tenant, run: &found, address: app.broker.address(DEFAULT_POOL) };
    rebuilding.page(from).await
}

struct Rebuilding<'a> {
    app: &'a App,
    tenant: &'a Identity,
    run: &'a TracedRun,
    /// Where messages go.
    address: Address,
}

impl Rebuilding<'_> {
    /// Reads the listings one after the other, until a page is full.
    async fn page(&self, from: SpanPosition) -> Result<SpanPage, Problem> {
        let mut spans = Vec::new();
        if from == SpanPosition::START {
            spans.extend(rebuilt_run(self.run, &self.address));
        }
        let (mut at, mut left) = (from, SPAN_ROWS_MAX);
        loop {
            let (read, last) = self.read(at, left, &mut spans).await?;
            at = match last {
                // As many as were asked for: there may be more of them.
                Some(last) if read == left => return Ok((spans, Some(last))),
                _ => match at {
                    SpanPosition::Segment(_) => SpanPosition::Attempt(AttemptPosition::default()),
                    SpanPosition::Attempt(_) => SpanPosition::Step(0),
                    SpanPosition::Step(_) => return Ok((spans, None)),
                },
            };
            left -= read;
        }
    }

    /// Reads at most so many rows behind a position, and says how many there were, and where the last one is.
    async fn read(
        &self,
        at: SpanPosition,
        limit: u32,
        spans: &mut Vec<RebuiltSpan>,
    ) -> Result<(u32, Option<SpanPosition>), Problem> {
        let Self { app, tenant, run, .. } = self;
        let id = run.header.id;
        let (read, last) = match at {
            SpanPosition::Segment(after) => {
                let segments = app.store.traced_segments(tenant, id, after, limit).await?;
                spans.extend(segments.iter().map(rebuilt_segment));
                // The first one has no resumption, and no other has its number.
                let last = segments.last();
                let last = last.map(|it| it.resumed.map_or(1, |resumed| resumed.segment));
                (segments.len(), last.map(SpanPosition::Segment))
            }
            SpanPosition::Attempt(after) => {
                let attempts = app.store.traced_attempts(tenant, id, after, limit).await?;
                self.attempts(&attempts, spans).await?;
                let last = attempts.last().map(|last| SpanPosition::Attempt(last.position));
                (attempts.len(), last)
            }
            SpanPosition::Step(after) => {
                let steps = app.store.traced_steps(tenant, id, after, limit).await?;
                spans.extend(steps.iter().map(rebuilt_step));
                let last = steps.last().map(|last| SpanPosition::Step(last.position));
                (steps.len(), last)
            }
        };
        Ok((u32::try_from(read).unwrap_or(limit), last))
    }

    async fn attempts(
        &self,
        attempts: &[TracedAttempt],
        spans: &mut Vec<RebuiltSpan>,
    ) -> Result<(), Problem> {
        if attempts.is_empty() {
            return Ok(());
        }
        let Self { app, tenant, run, address } = self;
        let lineage = app.lineages.of(&*app.store, run.header.version_id).await?;
        let parents_of = |attempt: &TracedAttempt| -> Vec<ActivationKey> {
            let parents = lineage.get(&attempt.key.node).into_iter().flatten();
            let key =
                |node: &NodeKey| ActivationKey { node: Arc::clone(node), ..attempt.key.clone() };
            parents.map(key).collect()
        };
        let mut wanted: Vec<_> = attempts.iter().flat_map(parents_of).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut known: HashMap<ActivationKey, TracedNode> = HashMap::new();
        if !wanted.is_empty() {
            let nodes = app.store.traced_nodes(tenant, run.header.id, &wanted).await?;
            known.extend(nodes.into_iter().map(|node| (node.key.clone(), node)));
        }
        for attempt in attempts {
            let parents = parents_of(attempt);
            let parents: Vec<_> = parents.iter().filter_map(|key| known.get(key)).collect();
            spans.extend(rebuilt_attempt(attempt, &parents, address));
        }
        Ok(())
    }
}
