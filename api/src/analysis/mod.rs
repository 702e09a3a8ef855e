//! Looking back at the runs of a stretch of time: what they waited for, what failed, what it cost, and whether a new version
//! is worse than the one before.
//!
//! A question is answered from the tables, a page at a time, in bounded time and memory: of more runs than are looked at,
//! an even part is, and the answer says so.

mod compare;
mod groups;
mod question;
mod report;
mod slices;
mod tally;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::{RunId, VersionId};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::analysis::{AnalysedRun, DOCUMENTS_READ_MAX, ModelCosts, RunRange};
use skein_shared::store::{Store, StoreError};
use skein_shared::workflow::shape::Shape;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dto::analysis::{Analysis, Coverage};
use slices::Slices;
use tally::Tally;

pub(crate) use question::{Question, Section, Sections, VersionPair};

/// Runs that are looked at for one answer. With some nodes each, that is some seconds of reading.
const RUNS_MAX: u64 = 100_000;
/// How long runs and costs are read for one answer. Behind it the answer is made of what there is: before a request's own
/// time is up, with a wait for its turn and for a last statement.
const READ_TIME_MAX: Duration = Duration::from_secs(15);
/// Parts of the time that is asked for in which costs are summed up, a statement for each.
const COST_PARTS: i32 = 32;
/// Versions whose shape is known while one question is answered. Runs of others have no critical path.
const SHAPES_MAX: usize = 500;

/// Answers a question. Given up between two statements once `stop` is cancelled: then nobody waits for the answer.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn answer(
    store: &dyn Store,
    tenant: &Identity,
    question: &Question,
    stop: &CancellationToken,
) -> Result<Analysis, StoreError> {
    let deadline = Instant::now() + READ_TIME_MAX;
    let mut reader = Reader { store, tenant, question, stop, deadline, limited_by: None };
    // They are few statements, and would be the first to go.
    let costs = match question.sections.has(Section::Costs) {
        true => Some(reader.costs().await?),
        false => None,
    };
    let (tally, coverage) = reader.runs().await?;
    Ok(report::report(question, &tally, costs.as_deref(), coverage))
}

/// Reads for one question.
struct Reader<'a> {
    store: &'a dyn Store,
    tenant: &'a Identity,
    question: &'a Question,
    stop: &'a CancellationToken,
    deadline: Instant,
    /// Why not all was read, if it was not.
    limited_by: Option<&'static str>,
}

impl Reader<'_> {
    /// Whether there is time for another statement.
    fn has_time(&mut self) -> bool {
        let has_time = Instant::now() < self.deadline && !self.stop.is_cancelled();
        if !has_time {
            self.limited_by = Some("time");
        }
        has_time
    }

    fn workflow(&self) -> Option<&str> {
        self.question.workflow.as_deref()
    }

    async fn costs(&mut self) -> Result<Vec<ModelCosts>, StoreError> {
        let Question { from, to, .. } = *self.question;
        let part = (to - from) / COST_PARTS;
        let mut sums = report::CostSums::default();
        for at in 0..COST_PARTS {
            if !self.has_time() {
                break;
            }
            let begin = from + part * at;
            let end = if at + 1 == COST_PARTS { to } else { begin + part };
            let store = self.store;
            let found = store.model_costs_in(self.tenant, self.workflow(), begin, end).await?;
            found.into_iter().for_each(|costs| sums.add(costs));
        }
        Ok(sums.dearest_first())
    }

    async fn runs(&mut self) -> Result<(Tally, Coverage), StoreError> {
        let mut tally = Tally::new(self.question.sections);
        let mut slices = Slices::of(RunRange::between(self.question.from, self.question.to));
        let mut shapes = HashMap::new();
        let are_asked_for = self.question.sections.need_runs();
        while let Some(range) = slices.next().filter(|_| are_asked_for) {
            if slices.examined() >= RUNS_MAX {
                self.limited_by = Some("runs");
                break;
            }
            if !self.has_time() {
                break;
            }
            let mut runs = self.store.runs_in(self.tenant, self.workflow(), range).await?;
            slices.note(&runs);
            if let Some(versions) = &self.question.versions {
                runs.retain(|run| versions.has(run.version));
            }
            for run in &runs {
                tally.run(run);
            }
            if self.question.sections.need_activations() {
                self.learn_shapes(&mut shapes, &runs).await?;
                self.activations(&mut tally, &shapes, &runs).await?;
            }
        }
        let coverage = Coverage {
            examined: slices.examined(),
            total_estimated: slices.estimated(),
            sampled: (slices.next().is_some() || self.limited_by.is_some()) && are_asked_for,
            limited_by: self.limited_by,
        };
        Ok((tally, coverage))
    }

    async fn activations(
        &mut self,
        tally: &mut Tally,
        shapes: &HashMap<VersionId, Option<Arc<Shape>>>,
        runs: &[AnalysedRun],
    ) -> Result<(), StoreError> {
        let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
        let mut read = 0;
        // Of large runs, a statement reads one: a page may be hundreds of them.
        while read < ids.len() && self.has_time() {
            let found = self.store.activations_of(self.tenant, &ids[read..]).await?;
            if found.is_empty() {
                return Err(StoreError::Corrupt("a page of activations is of no run".to_owned()));
            }
            for (run, activations) in runs[read..].iter().zip(&found) {
                let shape = shapes.get(&run.version_id).and_then(Option::as_deref);
                tally.activations(run, activations, shape);
            }
            read += found.len();
        }
        Ok(())
    }

    /// Looks up how the versions of these runs hang together, where that is not known yet.
    async fn learn_shapes(
        &mut self,
        shapes: &mut HashMap<VersionId, Option<Arc<Shape>>>,
        runs: &[AnalysedRun],
    ) -> Result<(), StoreError> {
        let mut missing: Vec<_> = runs.iter().map(|run| run.version_id).collect();
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|version| !shapes.contains_key(version));
        missing.truncate(SHAPES_MAX.saturating_sub(shapes.len()));
        for versions in missing.chunks(DOCUMENTS_READ_MAX) {
            if !self.has_time() {
                break;
            }
            shapes.extend(versions.iter().map(|version| (*version, None)));
            for (version, document) in self.store.documents_of(self.tenant, versions).await? {
                shapes.insert(version, Shape::of_document(&document).map(Arc::new));
                // One that is large takes milliseconds.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}
