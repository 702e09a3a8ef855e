//! Steps that nobody goes on with: settled, so that no budget stays reserved for them.

use std::time::Duration;

use tokio::time::Instant;

use super::held_steps::HeldSteps;
use super::{Sweeper, both};
use crate::domain::step::LostStep;
use crate::store::StoreError;
use crate::store::steps::{LOST_STEPS_MAX, LostSteps};
use crate::telemetry::spans::lost_step;
use crate::telemetry::{emit, metrics, within};

/// The pause between two scans for lost steps, at least: two of them fit between two sweeps of an idle process.
const SCAN_PAUSE: Duration = Duration::from_millis(500);
/// How much longer than a scan the pause after it is, at least. A scan reads all steps that are under way, in the whole fleet
/// and in every process.
const SCAN_PAUSE_FACTOR: u32 = 20;
/// The longest pause between two scans: what lost steps have reserved is kept from others meanwhile.
const SCAN_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What sweeps keep of lost steps from one to the next.
#[derive(Debug, Default)]
pub(super) struct LostStepsScan {
    /// When the next scan may be.
    due_at: Option<Instant>,
    held: HeldSteps,
}

impl Sweeper {
    /// Settles steps whose attempt ended before they had a result, unless there was a scan for them just now; says whether
    /// there may be more.
    pub(super) async fn lose_steps(&self, scan: &mut LostStepsScan) -> Result<bool, StoreError> {
        let LostStepsScan { due_at, held } = scan;
        let begun = Instant::now();
        let mut outcome = Ok(false);
        if due_at.is_none_or(|at| at <= begun) {
            outcome = self.steps.lose_steps(None).await.map(|found| {
                held.left(found.held);
                report_all(&found.steps)
            });
            let pause = match &outcome {
                Err(StoreError::TooSlow(_)) => SCAN_PAUSE_MAX,
                // How long a store takes that is away says nothing about the scan.
                Err(_) => SCAN_PAUSE,
                Ok(_) => (begun.elapsed() * SCAN_PAUSE_FACTOR).clamp(SCAN_PAUSE, SCAN_PAUSE_MAX),
            };
            *due_at = (!matches!(outcome, Ok(true))).then(|| Instant::now() + pause);
        }
        // One in a sweep: it may wait for as long as a lock may be waited for, and all that is due waits for the sweep.
        if let Some(organization) = held.take_overdue() {
            let waited = match self.steps.lose_steps(Some(&organization)).await {
                Ok(LostSteps { steps, .. }) => Ok(report_all(&steps)),
                Err(error @ StoreError::Locked(_)) => {
                    tracing::warn!(
                        organization.id = organization, %error,
                        "steps that are lost cannot be settled: somebody holds the totals of their organization"
                    );
                    Ok(false)
                }
                Err(error) => Err(error),
            };
            outcome = both(outcome, waited);
        }
        outcome
    }
}

/// Reports steps that one call has settled; says whether there may be more.
fn report_all(steps: &[LostStep]) -> bool {
    steps.iter().for_each(report);
    steps.len() >= LOST_STEPS_MAX as usize
}

/// The one place that exports what a sweep has found lost.
fn report(step: &LostStep) {
    let context = step.header.trace.context_of(step.span);
    within(context, step.header.identity.clone(), || {
        tracing::warn!(
            workflow.execution_id = %step.key.run, node.id = %step.key.node, step.number = step.seq,
            "a step was lost with its worker"
        );
    });
    metrics::step_lost(step);
    emit(lost_step(step));
}
