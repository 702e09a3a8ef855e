//! Adding up what runs tell.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use skein_shared::domain::analysis::critical_path::{EndedActivation, critical_path};
use skein_shared::domain::analysis::histogram::Histogram;
use skein_shared::domain::analysis::phases::{AttemptEnd, Phases, micros_between};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::analysis::{Activations, AnalysedActivation, AnalysedRun};
use skein_shared::workflow::shape::Shape;

use super::groups::{Examples, Groups};
use super::question::{Section, Sections};

/// Workflows that are told apart.
const WORKFLOWS_MAX: usize = 1_000;
/// Versions of them.
const VERSIONS_MAX: usize = 1_000;
/// Nodes of workflows. One takes a few kilobytes.
const NODES_MAX: usize = 2_000;
/// Nodes of workflows with a way to fail each.
const HOT_SPOTS_MAX: usize = 2_000;

/// A node of a workflow.
pub(super) type NodeName = (Arc<str>, Arc<str>);

/// How runs stand.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) timed_out: u64,
    pub(super) open: u64,
}

/// Where the time of a workflow's runs went that are over.
#[derive(Debug, Default)]
pub(super) struct WorkflowTally {
    pub(super) runs: u64,
    /// From the acceptance to the end of each, in microseconds.
    pub(super) time: u64,
    /// What of that was spent on what, along the critical path.
    pub(super) phases: Phases,
    /// The runs that waited longest.
    pub(super) waited: Examples,
}

/// What a node of a workflow has taken.
#[derive(Debug, Default)]
pub(super) struct NodeTally {
    pub(super) kind: Arc<str>,
    /// Attempts at it, of all runs that were looked at.
    pub(super) attempts: u64,
    /// Runs whose critical path it was on.
    pub(super) runs: u64,
    /// What it took there.
    pub(super) phases: Phases,
    /// The same for each of those runs, in microseconds.
    pub(super) times: Histogram,
    /// The runs in which it took longest.
    pub(super) slowest: Examples,
}

/// A node that fails in some way.
#[derive(Debug, Default)]
pub(super) struct HotSpotTally {
    /// Attempts that came to nothing.
    pub(super) wasted: u64,
    /// What they took, in microseconds.
    pub(super) time: u64,
    /// Activations that failed for good.
    pub(super) failed: u64,
    /// Runs that it happened in.
    pub(super) runs: u64,
    /// The runs in which it took longest.
    pub(super) worst: Examples,
}

/// How the runs of a version went.
#[derive(Debug, Default)]
pub(super) struct VersionTally {
    /// Runs that are over, and nobody has cancelled.
    pub(super) ended: u64,
    /// Those that did not succeed.
    pub(super) failed: u64,
    /// How long those took that did, in microseconds.
    pub(super) times: Histogram,
    /// What runs cost that have called models, all of which have a price, in nano-dollars.
    pub(super) costs: Histogram,
    /// The runs that took longest.
    pub(super) slowest: Examples,
    /// The latest runs that failed.
    pub(super) failures: Examples,
    /// The runs that cost most.
    pub(super) dearest: Examples,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Tally {
    sections: Sections,
    pub(super) counts: Counts,
    pub(super) workflows: Groups<Arc<str>, WorkflowTally>,
    pub(super) nodes: Groups<NodeName, NodeTally>,
    pub(super) hot_spots: Groups<(NodeName, Arc<str>), HotSpotTally>,
    pub(super) versions: Groups<(Arc<str>, u32), VersionTally>,
}

impl Tally {
    pub(super) fn new(sections: Sections) -> Self {
        Self {
            sections,
            counts: Counts::default(),
            workflows: Groups::new(WORKFLOWS_MAX),
            nodes: Groups::new(NODES_MAX),
            hot_spots: Groups::new(HOT_SPOTS_MAX),
            versions: Groups::new(VERSIONS_MAX),
        }
    }

    /// Adds a run.
    pub(super) fn run(&mut self, run: &AnalysedRun) {
        let counts = &mut self.counts;
        let (count, has_failed) = match run.state {
            RunState::Succeeded => (&mut counts.succeeded, false),
            RunState::Failed => (&mut counts.failed, true),
            RunState::TimedOut => (&mut counts.timed_out, true),
            RunState::Cancelled => (&mut counts.cancelled, false),
            RunState::Queued | RunState::Running | RunState::Suspended => (&mut counts.open, false),
        };
        *count += 1;
        let Some(ended_at) = run.ended_at.filter(|_| run.state != RunState::Cancelled) else {
            return;
        };
        if !self.sections.has(Section::Regressions) {
            return;
        }
        let key = (Arc::clone(&run.workflow), run.version);
        let Some(version) = self.versions.of(key) else { return };
        version.ended += 1;
        if has_failed {
            version.failed += 1;
            let age = micros_between(DateTime::UNIX_EPOCH, ended_at);
            version.failures.add(age, run);
        } else {
            let took = micros_between(run.created_at, ended_at);
            version.times.record(took);
            version.slowest.add(took, run);
        }
        if run.calls > 0 && run.unpriced_calls == 0 {
            let cost = u64::try_from(run.cost.0).unwrap_or_default();
            version.costs.record(cost);
            version.dearest.add(cost, run);
        }
    }

    /// Adds what a run has done.
    pub(super) fn activations(
        &mut self,
        run: &AnalysedRun,
        found: &Activations,
        shape: Option<&Shape>,
    ) {
        if self.sections.has(Section::HotSpots) {
            self.failures(run, &found.activations);
        }
        let is_asked_for =
            self.sections.has(Section::CriticalPath) || self.sections.has(Section::Waiting);
        let has_path = is_asked_for && !found.are_cut && run.state != RunState::Cancelled;
        if let Some(shape) = shape.filter(|_| has_path) {
            self.path(run, &found.activations, shape);
        }
    }

    fn path(&mut self, run: &AnalysedRun, activations: &[AnalysedActivation], shape: &Shape) {
        let Some(ended_at) = run.ended_at else { return };
        let mut of_nodes = Vec::new();
        let mut ended = Vec::new();
        for activation in activations {
            if let Some(node) = shape.find(&activation.node)
                && let Some(activation) = ended_activation(activation, node)
            {
                ended.push(activation);
            }
        }
        let path = critical_path(&shape.parents, &ended, run.created_at);
        let took = micros_between(run.created_at, ended_at);
        let Some(workflow) = self.workflows.of(Arc::clone(&run.workflow)) else { return };
        workflow.runs += 1;
        workflow.time = workflow.time.saturating_add(took);
        let mut of_run = Phases::default();
        // A node may be on it several times: in each of several repetitions.
        for stretch in &path {
            of_run.add_all(&stretch.phases);
            let node = ended[stretch.activation].node;
            match of_nodes.iter_mut().find(|(other, _)| *other == node) {
                Some((_, phases)) => Phases::add_all(phases, &stretch.phases),
                None => of_nodes.push((node, stretch.phases)),
            }
        }
        workflow.phases.add_all(&of_run);
        workflow.waited.add(of_run.waiting(), run);
        for (node, phases) in of_nodes {
            let name = &shape.nodes[node];
            let key = (Arc::clone(&run.workflow), Arc::clone(name));
            let Some(tally) = self.nodes.of(key) else { continue };
            if let Some(activation) = activations.iter().find(|it| it.node == *name) {
                tally.kind = Arc::clone(&activation.kind);
            }
            tally.runs += 1;
            tally.phases.add_all(&phases);
            tally.times.record(phases.total());
            tally.slowest.add(phases.total(), run);
        }
    }

    fn failures(&mut self, run: &AnalysedRun, activations: &[AnalysedActivation]) {
        let mut of_run: HashMap<(&Arc<str>, &Arc<str>), HotSpotTally> = HashMap::new();
        for activation in activations {
            let attempts = Attempt::all(activation);
            let node = (Arc::clone(&run.workflow), Arc::clone(&activation.node));
            if let Some(tally) = self.nodes.of(node) {
                tally.attempts += attempts.len() as u64;
                tally.kind = Arc::clone(&activation.kind);
            }
            for attempt in attempts {
                let Some(code) = attempt.code else { continue };
                let tally = of_run.entry((&activation.node, code)).or_default();
                tally.wasted += 1;
                tally.time = tally.time.saturating_add(attempt.micros);
                tally.failed += u64::from(attempt.is_last);
            }
        }
        for ((node, code), found) in of_run {
            let node = (Arc::clone(&run.workflow), Arc::clone(node));
            let Some(tally) = self.hot_spots.of((node, Arc::clone(code))) else { continue };
            tally.wasted += found.wasted;
            tally.time = tally.time.saturating_add(found.time);
            tally.failed += found.failed;
            tally.runs += 1;
            tally.worst.add(found.time, run);
        }
    }
}

/// An attempt at a node.
struct Attempt<'a> {
    /// Why it came to nothing, if it did.
    code: Option<&'a Arc<str>>,
    micros: u64,
    /// Whether the node failed with it.
    is_last: bool,
}

impl<'a> Attempt<'a> {
    /// Those at an activation. Waits and what was given back are none.
    fn all(activation: &'a AnalysedActivation) -> Vec<Self> {
        let counted = |outcome| matches!(outcome, AttemptEnd::Retry | AttemptEnd::Crashed);
        let earlier = activation.earlier.iter().filter(|it| counted(it.outcome));
        let mut all: Vec<_> = earlier
            .map(|attempt| Self {
                code: attempt.code.as_ref(),
                micros: micros_between(attempt.started_at, attempt.ended_at),
                is_last: false,
            })
            .collect();
        if let Some(started_at) = last_start(activation) {
            let has_failed = activation.state == NodeState::Failed;
            all.push(Self {
                code: activation.code.as_ref().filter(|_| has_failed),
                micros: activation.ended_at.map_or(0, |end| micros_between(started_at, end)),
                is_last: has_failed,
            });
        }
        all
    }
}

/// When the attempt began that the row of the activation tells of; the row keeps the time of one that has become an earlier
/// one.
fn last_start(activation: &AnalysedActivation) -> Option<DateTime<Utc>> {
    let is_earlier =
        |at: DateTime<Utc>| activation.earlier.last().is_some_and(|last| last.started_at >= at);
    activation.started_at.filter(|at| !is_earlier(*at))
}

/// The activation as one that is over, if it is and has done anything: what was never begun and cancelled with its run did
/// not hold that up.
fn ended_activation(activation: &AnalysedActivation, node: usize) -> Option<EndedActivation> {
    let started_at = last_start(activation);
    let is_idle = activation.state == NodeState::Cancelled
        && started_at.is_none()
        && activation.earlier.is_empty();
    Some(EndedActivation {
        node,
        scope: Arc::clone(&activation.scope),
        earlier: activation.earlier.clone().into(),
        queued_at: activation.queued_at,
        started_at,
        ended_at: activation.ended_at.filter(|_| !is_idle)?,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use skein_shared::domain::analysis::phases::{EarlierAttempt, Phase};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// One that has failed once, from the first to the third second, and ended at the tenth.
    fn activation(state: NodeState, started: Option<i64>) -> AnalysedActivation {
        let code = Some("http_status".into());
        let outcome = AttemptEnd::Retry;
        let (started_at, ended_at) = (at(1), at(3));
        AnalysedActivation {
            node: "a".into(),
            scope: "".into(),
            kind: "http".into(),
            state,
            code: (state == NodeState::Failed).then(|| "timeout".into()),
            queued_at: started.map(at),
            started_at: started.map(at),
            ended_at: Some(at(10)),
            earlier: vec![EarlierAttempt { outcome, awaited: None, code, started_at, ended_at }],
        }
    }

    fn seconds(activation: &AnalysedActivation, phase: Phase) -> u64 {
        let ended = ended_activation(activation, 0).unwrap();
        let path = critical_path(&[vec![]], &[ended], at(0));
        path[0].phases.of(phase) / 1_000_000
    }

    #[test]
    fn what_was_cancelled_between_two_attempts_has_made_none_meanwhile() {
        // The row still tells of the attempt that failed.
        let cancelled = activation(NodeState::Cancelled, Some(1));
        assert_eq!(Attempt::all(&cancelled).len(), 1);
        assert_eq!([Phase::Work, Phase::Backoff].map(|it| seconds(&cancelled, it)), [2, 7]);
        let failed = activation(NodeState::Failed, Some(6));
        let codes: Vec<_> = Attempt::all(&failed).iter().map(|it| it.code.cloned()).collect();
        assert_eq!(codes, [Some("http_status".into()), Some("timeout".into())]);
        assert_eq!([Phase::Work, Phase::Backoff].map(|it| seconds(&failed, it)), [6, 3]);
    }

    #[test]
    fn what_never_began_holds_up_nothing() {
        let mut idle = activation(NodeState::Cancelled, None);
        idle.earlier.clear();
        assert_eq!(ended_activation(&idle, 0), None);
        assert!(Attempt::all(&idle).is_empty());
        idle.state = NodeState::Skipped;
        assert!(ended_activation(&idle, 0).is_some(), "a dead path takes its time as well");
    }
}
