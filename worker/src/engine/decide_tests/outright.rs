//! Failing an activation for what makes everything else that it decided void.

use skein_shared::domain::ids::END_NODE;
use skein_shared::store::engine::{CommitFrom, RunChange};

use super::super::decide::{FinishedAttempt, fail_outright, panicked, unstorable};
use super::*;

#[test]
fn what_cannot_be_stored_fails_its_node_and_run_and_keeps_the_span() {
    let run = sample_context().run;
    let key = ActivationKey::root(run.id, "fetch");
    let span = new_span_id();
    let now = SystemTime::now();
    let finished = FinishedAttempt {
        key: key.clone(),
        kind: NodeKind::Http,
        number: 3,
        span,
        queued: None,
        is_resumed: false,
        process: None,
        upstream: Vec::new(),
        timing: Timing { start: now, end: now },
        outcome: Arc::new(AttemptOutcome::Succeeded { input: None, output: "1".to_owned() }),
    };
    let from = CommitFrom::Running { claim: 4 };
    let decision = fail_outright(key, from, unstorable(), Some(finished));
    let commit = &decision.commit;
    let has_failed = |outcome: &AttemptOutcome| matches!(outcome, AttemptOutcome::Failed { error, .. } if &*error.code == "unstorable");
    assert!(has_failed(&commit.outcome));
    let RunChange::Fail(error) = &commit.run else { panic!("{:?}", commit.run) };
    assert_eq!(error.node.as_deref(), Some("fetch"));
    assert_eq!((commit.rows.len(), commit.tokens.len()), (0, 0));
    let [event] = &commit.events[..] else { panic!("{:?}", commit.events) };
    assert_eq!((event.event, event.span), ("node.failed", Some(span)));
    let [finished] = &decision.finished[..] else { panic!("{:?}", decision.finished) };
    assert!(has_failed(&finished.outcome));
}

#[test]
fn a_panic_at_the_end_of_a_run_fails_the_run_and_tells_of_no_node() {
    let key = ActivationKey::root(sample_context().run.id, END_NODE);
    let decision = fail_outright(key, CommitFrom::Running { claim: 1 }, panicked(), None);
    let RunChange::Fail(error) = &decision.commit.run else { panic!("{:?}", decision.commit.run) };
    assert_eq!((&*error.code, error.node.as_deref()), ("internal", None));
    assert!(decision.commit.events.is_empty() && decision.finished.is_empty());
}
