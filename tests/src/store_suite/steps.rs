//! The journal: intents, results, and what becomes of both when a worker dies in between.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skein_shared::batcher::{Apply, Batcher, BatcherError, BatcherLimits};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, LeaseId};
use skein_shared::domain::money::{NanoDollars, Price};
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::step::{LostStep, StepKind, StepStatus};
use skein_shared::domain::usage::Usage;
use skein_shared::store::engine::Claimed;
use skein_shared::store::recovery::ReapScope;
use skein_shared::store::steps::{
    Begun, Charge, JOURNAL_BYTES_MAX, RecordedStep, Reservation, STEP_BYTES_MAX,
    STEP_RESULT_BYTES_MAX, STEPS_MAX, StepAnswer, StepIntent, StepResult, StepWrite,
};
use skein_shared::store::{Store, StoreError};
use tokio_util::task::TaskTracker;

use super::world::{World, ended, event, span, words};

/// A thousand nano-dollars a token.
pub const PRICE: Price = Price {
    input: 1_000_000_000,
    output: 1_000_000_000,
    cache_read: 500_000_000,
    cache_write: 1_000_000_000,
};

/// A call to a model that may take so many tokens of input, and ten of output.
#[must_use]
pub fn model(seq: u32, input_tokens: u64) -> StepIntent {
    let reservation = Reservation {
        provider: "acme-ai".into(),
        model: "large".into(),
        price: Some(PRICE),
        input_tokens,
        output_tokens: 10,
    };
    StepIntent {
        kind: StepKind::Model,
        name: "large".into(),
        reservation: Some(reservation),
        ..tool(seq)
    }
}

/// A call to a tool.
#[must_use]
pub fn tool(seq: u32) -> StepIntent {
    StepIntent {
        seq,
        kind: StepKind::Tool,
        name: "search".into(),
        digest: [7; 32],
        arguments: Some(r#"{"query":"geese"}"#.to_owned()),
        span: span(),
        reservation: None,
        decision_within: None,
    }
}

/// The tokens that a step reserves.
fn reserved(intent: &StepIntent) -> Usage {
    let held = intent.reservation.as_ref().expect("it calls a model");
    let (input_tokens, output_tokens) = (held.input_tokens, held.output_tokens);
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

/// A good result of the first try, which took so many tokens of input and none of output.
#[must_use]
pub fn result(seq: u32, input_tokens: u64) -> StepResult {
    let usage = Usage { input_tokens, ..Usage::default() };
    StepResult {
        seq,
        attempt: 1,
        status: StepStatus::Succeeded,
        observation: Some(r#"{"text":"honk"}"#.to_owned()),
        thought: Some("I think".to_owned()),
        error: None,
        charge: Charge::Counted(usage),
        price: None,
        response_model: Some("large-2026".to_owned()),
        latency: Duration::from_millis(1_250),
    }
}

/// A write that does nothing but prove that the worker has the node.
#[must_use]
pub fn write(claimed: &Claimed) -> StepWrite {
    let (key, claim) = (claimed.key.clone(), claimed.claim);
    StepWrite { key, claim, finished: None, begin: None, events: Vec::new() }
}

/// A write that begins a step.
#[must_use]
pub fn begin(claimed: &Claimed, intent: StepIntent) -> StepWrite {
    StepWrite { begin: Some(intent), ..write(claimed) }
}

/// A write that records a result.
#[must_use]
pub fn finish(claimed: &Claimed, result: StepResult) -> StepWrite {
    StepWrite { finished: Some(result), ..write(claimed) }
}

impl World {
    /// A lease with one claimed node of a new run.
    pub async fn at_work(&self) -> (LeaseId, Claimed) {
        let (run, lease) = (self.accept(&["a"]).await, self.lease().await);
        (lease, self.won(lease, run, "a").await)
    }

    /// Writes one, whatever comes of it.
    pub async fn write(&self, lease: LeaseId, write: StepWrite) -> StepAnswer {
        self.store.write_steps(lease, from_ref(&write)).await.unwrap().remove(0)
    }

    /// Writes one that must not be fenced.
    pub async fn written(&self, lease: LeaseId, write: StepWrite) -> Begun {
        match self.write(lease, write).await {
            StepAnswer::Written(begun) => begun,
            StepAnswer::Fenced => panic!("fenced"),
        }
    }

    /// Begins a step, which must be possible; returns which of its tries it is, and what was lost.
    pub async fn started(&self, lease: LeaseId, write: StepWrite) -> (u32, Vec<LostStep>) {
        match self.written(lease, write).await {
            Begun::Started { attempt, lost } => (attempt, lost),
            other => panic!("{other:?}"),
        }
    }

    /// Settles steps that are lost, as a sweep does.
    pub async fn lose(&self) -> Vec<LostStep> {
        self.store.lose_steps(None).await.unwrap().steps
    }

    /// The journal of an activation.
    pub async fn journal(&self, key: &ActivationKey) -> Vec<RecordedStep> {
        self.store.recorded_steps(key).await.unwrap()
    }
}

fn statuses(journal: &[RecordedStep]) -> Vec<(u32, u32, StepStatus)> {
    journal.iter().map(|step| (step.seq, step.attempt, step.status)).collect()
}

/// What is begun can be read as it was written, and then with what came of it.
pub async fn an_intent_is_there_before_its_result(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    assert!(world.journal(&a.key).await.is_empty());
    let intent = model(1, 100);
    assert_eq!(world.started(lease, begin(&a, intent.clone())).await.0, 1);
    let journal = world.journal(&a.key).await;
    let [step] = &journal[..] else { panic!("{journal:?}") };
    assert_eq!((step.seq, step.attempt, step.status), (1, 1, StepStatus::Started));
    assert_eq!((step.kind, &*step.name), (StepKind::Model, "large"));
    assert_eq!((step.span, &step.digest[..]), (intent.span, &intent.digest[..]));
    assert_eq!((&step.arguments, &step.observation), (&intent.arguments, &None));
    assert_eq!((step.usage, step.cost, step.latency), (None, None, None));
    let reserved = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    assert_eq!(step.charged, reserved);

    let next = StepWrite { finished: Some(result(1, 80)), ..begin(&a, tool(2)) };
    assert_eq!(world.started(lease, next).await.0, 1);
    let failed = StepResult {
        status: StepStatus::Failed,
        error: Some(Failure::new("tool", "no geese")),
        charge: Charge::Nothing,
        ..result(2, 0)
    };
    assert!(matches!(world.written(lease, finish(&a, failed)).await, Begun::Nothing));
    let journal = world.journal(&a.key).await;
    let [model, tool] = &journal[..] else { panic!("{journal:?}") };
    let usage = Usage { input_tokens: 80, ..Usage::default() };
    assert_eq!((model.usage, model.cost), (Some(usage), Some(NanoDollars(80_000))));
    assert_eq!((model.charged, tool.charged), (usage, Usage::default()));
    assert_eq!(model.observation.as_deref(), Some(r#"{"text":"honk"}"#));
    assert_eq!(model.thought.as_deref(), Some("I think"));
    assert_eq!(model.latency, Some(Duration::from_millis(1_250)));
    assert_eq!((tool.status, tool.cost), (StepStatus::Failed, None));
    assert_eq!(tool.error.as_ref().map(|error| &*error.code), Some("tool"));
}

/// Neither another lease nor an earlier claim may write anything.
pub async fn a_write_is_fenced_by_lease_and_claim(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let other = world.lease().await;
    let earlier = Claimed { claim: a.claim - 1, ..a.clone() };
    let nobody = Claimed { key: ActivationKey::root(a.key.run, "nobody"), ..a.clone() };
    let with_event = StepWrite { events: vec![event("a", "agent.step")], ..begin(&a, model(1, 1)) };
    assert!(matches!(world.write(other, with_event).await, StepAnswer::Fenced));
    assert!(matches!(world.write(lease, begin(&earlier, model(1, 1))).await, StepAnswer::Fenced));
    assert!(matches!(world.write(lease, begin(&nobody, tool(1))).await, StepAnswer::Fenced));
    assert!(world.journal(&a.key).await.is_empty());
    // Of a batch, only those are fenced that are to be.
    let b = world.won(lease, world.accept(&["a"]).await, "a").await;
    let batch = [begin(&earlier, model(1, 1)), begin(&b, model(1, 1)), begin(&nobody, tool(1))];
    let answers = world.store.write_steps(lease, &batch).await.unwrap();
    assert!(
        matches!(
            &answers[..],
            [
                StepAnswer::Fenced,
                StepAnswer::Written(Begun::Started { attempt: 1, .. }),
                StepAnswer::Fenced
            ]
        ),
        "{answers:?}"
    );
    assert!(!words(&world.log_now(a.key.run).await).contains(&"agent.step"));
    let released = AttemptOutcome::Deferred { delay: Duration::ZERO };
    world.flip(lease, ended(&a, released, None)).await;
    assert!(matches!(world.write(lease, write(&a)).await, StepAnswer::Fenced));
}

/// A reply that is lost has its call repeated: the same step is there once, and a result is recorded once.
pub async fn a_repeated_write_answers_the_same(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let first = begin(&a, model(1, 100));
    let second = StepWrite { finished: Some(result(1, 80)), ..begin(&a, tool(2)) };
    for write in [first, second] {
        for _ in 0..3 {
            assert_eq!(world.started(lease, write.clone()).await.0, 1);
        }
    }
    let journal = world.journal(&a.key).await;
    let expected = [(1, 1, StepStatus::Succeeded), (2, 1, StepStatus::Started)];
    assert_eq!(statuses(&journal), expected);
    // The same call, under way twice at once.
    let third = begin(&a, model(3, 1));
    let calls = (0..8).map(|_| {
        let (world, third) = (world.clone(), third.clone());
        tokio::spawn(async move { world.started(lease, third).await.0 })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 1);
    }
    assert_eq!(world.journal(&a.key).await.len(), 3);
}

/// A node whose steps go on is not taken from its worker, however long ago its claim was; and it has not crashed it.
pub async fn a_write_keeps_the_node_with_its_worker(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, tool(1))).await;
    assert!(world.store.reap(500, ReapScope::ALL).await.unwrap().is_empty());
    assert!(matches!(world.write(lease, write(&a)).await, StepAnswer::Written(Begun::Nothing)));
}

/// What the other side did not work on is made again: in the same write, and as another try.
pub async fn a_refused_step_is_tried_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, model(1, 100))).await;
    let refused = StepResult {
        status: StepStatus::Refused,
        observation: None,
        charge: Charge::Nothing,
        ..result(1, 0)
    };
    let again = StepWrite { finished: Some(refused), ..begin(&a, model(1, 100)) };
    for _ in 0..2 {
        let (attempt, lost) = world.started(lease, again.clone()).await;
        assert_eq!((attempt, lost.len()), (2, 0));
    }
    let journal = world.journal(&a.key).await;
    let expected = [(1, 1, StepStatus::Refused), (1, 2, StepStatus::Started)];
    assert_eq!(statuses(&journal), expected);
    assert_eq!(journal[0].cost, Some(NanoDollars::ZERO));
}

/// Whoever takes the node up again and begins a step finds those that were under way, and so does one whose reply was
/// lost.
pub async fn steps_of_a_lost_attempt_are_lost_when_the_next_begins(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (first, a) = world.at_work().await;
    let (made, other) = (model(1, 100), tool(2));
    world.started(first, begin(&a, made.clone())).await;
    world.started(first, begin(&a, other.clone())).await;
    world.store.close_lease(first, from_ref(&a.key)).await.unwrap();
    let lease = world.lease().await;
    world.sweep(a.key.run).await;
    let again = world.won(lease, a.key.run, "a").await;
    let next = begin(&again, model(1, 100));
    for _ in 0..2 {
        let (attempt, lost) = world.started(lease, next.clone()).await;
        assert_eq!(attempt, 2);
        let [model, tool] = &lost[..] else { panic!("{lost:?}") };
        assert_eq!((model.seq, model.attempt, model.span), (1, 1, made.span));
        assert_eq!((model.parent, model.cost), (Some(a.span), Some(NanoDollars(110_000))));
        assert_eq!((model.charged, tool.charged.total()), (reserved(&made), 0));
        assert_eq!((&*model.node_kind, &model.key), ("transform", &a.key));
        assert_eq!((&model.header.identity, model.header.id), (&world.tenant, a.key.run));
        assert_eq!(model.header.trace.trace, a.run.trace.trace);
        assert_eq!((tool.span, tool.cost, &tool.provider), (other.span, None, &None));
        assert_eq!(tool.charged, Usage::default());
    }
    let journal = world.journal(&a.key).await;
    let expected =
        [(1, 1, StepStatus::Lost), (1, 2, StepStatus::Started), (2, 1, StepStatus::Lost)];
    assert_eq!(statuses(&journal), expected);
    assert!(world.lose().await.is_empty());
}

/// Nobody may ever take the node up again.
pub async fn steps_of_a_dead_worker_are_lost(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let made = model(1, 100);
    world.started(lease, begin(&a, made.clone())).await;
    assert!(world.lose().await.is_empty());
    world.store.close_lease(lease, from_ref(&a.key)).await.unwrap();
    // Several sweepers at once: one gets it.
    let sweeps = (0..4).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.lose().await })
    });
    let mut lost = Vec::new();
    for sweep in sweeps.collect::<Vec<_>>() {
        lost.extend(sweep.await.unwrap());
    }
    lost.extend(world.lose().await);
    let [step] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!((step.span, step.cost), (made.span, Some(NanoDollars(110_000))));
    assert_eq!((step.provider.as_deref(), step.charged), (Some("acme-ai"), reserved(&made)));
    let finished = finish(&a, result(1, 1));
    assert!(matches!(world.write(lease, finished).await, StepAnswer::Fenced));
    let journal = world.journal(&a.key).await;
    assert_eq!(statuses(&journal), [(1, 1, StepStatus::Lost)]);
    assert_eq!((journal[0].usage, journal[0].charged.total()), (None, 110));
}

/// Two steps of one attempt may be under way at once.
pub async fn what_still_runs_is_not_lost(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, tool(1))).await;
    let (_, lost) = world.started(lease, begin(&a, tool(2))).await;
    assert!(lost.is_empty(), "{lost:?}");
    assert!(world.lose().await.is_empty());
    // A call that was given up and is made anew is another one.
    let (attempt, lost) = world.started(lease, begin(&a, tool(2))).await;
    assert_eq!((attempt, lost.len()), (2, 1));
    let journal = world.journal(&a.key).await;
    let expected =
        [(1, 1, StepStatus::Started), (2, 1, StepStatus::Lost), (2, 2, StepStatus::Started)];
    assert_eq!(statuses(&journal), expected);
}

/// Whoever forgets to look into the journal does nothing twice.
pub async fn a_finished_step_is_not_begun_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, tool(1))).await;
    let done = StepWrite { finished: Some(result(1, 0)), ..begin(&a, tool(1)) };
    let begun = world.written(lease, done).await;
    assert!(matches!(begun, Begun::Over(StepStatus::Succeeded)), "{begun:?}");
    let begun = world.written(lease, begin(&a, tool(1))).await;
    assert!(matches!(begun, Begun::Over(StepStatus::Succeeded)), "{begun:?}");
    assert_eq!(world.journal(&a.key).await.len(), 1);
}

/// Along with what they tell of, and not a second time when that is repeated.
pub async fn events_are_written_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let with = |write: StepWrite, word| StepWrite { events: vec![event("a", word)], ..write };
    let writes = [
        with(begin(&a, model(1, 1)), "began"),
        with(StepWrite { begin: Some(tool(2)), ..finish(&a, result(1, 1)) }, "finished"),
    ];
    for write in writes {
        for _ in 0..2 {
            world.written(lease, write.clone()).await;
        }
    }
    world.written(lease, with(write(&a), "alone")).await;
    let log = world.log(a.key.run, 6).await;
    assert_eq!(words(&log)[3..], ["began", "finished", "alone"]);
    assert_eq!(log[3].node.as_deref(), Some("a"));
}

/// Nothing is sent, however often it is asked for, and after its time nobody may allow it any more.
pub async fn a_step_waits_for_its_decision(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let ask = StepIntent { decision_within: Some(Duration::from_secs(3600)), ..tool(1) };
    for _ in 0..2 {
        assert!(matches!(world.written(lease, begin(&a, ask.clone())).await, Begun::Pending));
    }
    // It waits all the same if whoever takes the node up would not ask any more.
    let unasked = StepIntent { decision_within: None, ..ask.clone() };
    assert!(matches!(world.written(lease, begin(&a, unasked)).await, Begun::Pending));
    let other = StepIntent { digest: [8; 32], ..ask };
    let begun = world.written(lease, begin(&a, other)).await;
    assert!(matches!(begun, Begun::Over(StepStatus::Pending)), "{begun:?}");
    let journal = world.journal(&a.key).await;
    assert_eq!(statuses(&journal), [(1, 1, StepStatus::Pending)]);
    assert!(journal[0].expires_at.is_some_and(|at| at > journal[0].started_at));
    let short = StepIntent { decision_within: Some(Duration::ZERO), ..tool(2) };
    assert!(matches!(world.written(lease, begin(&a, short.clone())).await, Begun::Pending));
    let begun = world.written(lease, begin(&a, short)).await;
    assert!(matches!(begun, Begun::Over(StepStatus::Denied)), "{begun:?}");
    let journal = world.journal(&a.key).await;
    assert_eq!(journal[1].error.as_ref().map(|error| &*error.code), Some("approval_timeout"));
    assert!(world.lose().await.is_empty());
}

/// Models and tools say what they like.
pub async fn awkward_texts_survive(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let texts =
        [r#""\u0000""#, r#"{"\ud83d":"\ude00 \u0000"}"#, "1e400", r#"{"b":1, "a":2 , "b":3}"#];
    for (seq, text) in (1..).zip(texts) {
        let intent = StepIntent { arguments: Some(text.to_owned()), ..tool(seq) };
        world.started(lease, begin(&a, intent)).await;
        let result = StepResult {
            observation: Some(text.to_owned()),
            thought: Some("a\0b 😀".to_owned()),
            response_model: Some("m\0".to_owned()),
            ..result(seq, 0)
        };
        world.written(lease, finish(&a, result)).await;
    }
    for (step, text) in world.journal(&a.key).await.iter().zip(texts) {
        assert_eq!(step.arguments.as_deref(), Some(text));
        assert_eq!(step.observation.as_deref(), Some(text));
        assert_eq!(step.thought.as_deref(), Some("a\u{fffd}b 😀"));
    }
}

/// One write of a batch that no store can hold leaves the others undone as well: a batcher finds it.
pub async fn what_is_too_large_is_refused_whole(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let b = world.won(lease, world.accept(&["a"]).await, "a").await;
    let large = format!("\"{}\"", "x".repeat(STEP_BYTES_MAX));
    let yields = |bytes: usize| {
        let observation = Some(format!("\"{}\"", "x".repeat(bytes - 2)));
        StepResult { observation, ..result(1, 1) }
    };
    let observation = yields(STEP_RESULT_BYTES_MAX + 1);
    for bad in [
        begin(&b, StepIntent { arguments: Some(large), ..tool(1) }),
        begin(&b, StepIntent { arguments: Some("{".to_owned()), ..tool(1) }),
        begin(&b, tool(STEPS_MAX + 1)),
        begin(&b, tool(0)),
        finish(&b, observation),
    ] {
        let batch = [begin(&a, tool(1)), bad];
        let refused = world.store.write_steps(lease, &batch).await;
        assert!(matches!(refused, Err(StoreError::Data(_))), "{refused:?}");
        assert!(world.journal(&a.key).await.is_empty());
    }
    let most = StepIntent {
        arguments: Some(format!("\"{}\"", "x".repeat(STEP_BYTES_MAX - 2))),
        ..tool(STEPS_MAX)
    };
    world.started(lease, begin(&b, most)).await;
    world.started(lease, begin(&a, tool(1))).await;
    world.write(lease, finish(&a, yields(STEP_RESULT_BYTES_MAX))).await;
    let recorded = world.journal(&a.key).await;
    assert_eq!(recorded[0].observation.as_ref().map(String::len), Some(STEP_RESULT_BYTES_MAX));
    assert!(world.store.write_steps(lease, &[]).await.unwrap().is_empty());
}

/// It would be held in memory whole.
pub async fn a_journal_that_is_too_large_is_not_read(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let text = format!("\"{}\"", "x".repeat(STEP_BYTES_MAX - 2));
    let steps = u32::try_from(JOURNAL_BYTES_MAX / STEP_BYTES_MAX).unwrap();
    for seq in 1..=steps {
        world
            .started(lease, begin(&a, StepIntent { arguments: Some(text.clone()), ..tool(seq) }))
            .await;
    }
    assert_eq!(world.journal(&a.key).await.len(), steps as usize);
    world.started(lease, begin(&a, tool(steps + 1))).await;
    let refused = world.store.recorded_steps(&a.key).await;
    assert!(matches!(refused, Err(StoreError::Data(_))), "{refused:?}");
}

struct WriteAll(Arc<dyn Store>, LeaseId);

#[async_trait]
impl Apply for WriteAll {
    type Request = StepWrite;
    type Reply = StepAnswer;
    const NAME: &'static str = "steps";

    async fn apply(&self, batch: &[StepWrite]) -> Result<Vec<StepAnswer>, StoreError> {
        self.0.write_steps(self.1, batch).await
    }

    fn retry_timeout(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// The others are written, whatever shares a batch with them.
pub async fn a_batcher_finds_the_write_that_cannot_be_held(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let tasks = TaskTracker::new();
    let apply = WriteAll(Arc::clone(&world.store), lease);
    let batcher = Batcher::start(&tasks, apply, BatcherLimits::default());
    let mut calls = Vec::new();
    let mut keys = Vec::new();
    for (index, run) in world.accept_many(20, &["a"]).await.into_iter().enumerate() {
        let a = world.won(lease, run, "a").await;
        keys.push(a.key.clone());
        let arguments = if index == 13 { "{" } else { "{}" };
        let intent = StepIntent { arguments: Some(arguments.to_owned()), ..model(1, 10) };
        let batcher = batcher.clone();
        calls.push(tokio::spawn(async move { batcher.submit(begin(&a, intent)).await }));
    }
    for (index, (call, key)) in calls.into_iter().zip(&keys).enumerate() {
        let answer = call.await.unwrap();
        let is_there = !world.journal(key).await.is_empty();
        match answer {
            Err(BatcherError::Refused(_)) => assert!(index == 13 && !is_there),
            Ok(StepAnswer::Written(Begun::Started { attempt: 1, .. })) => assert!(is_there),
            other => panic!("{index}: {other:?}"),
        }
    }
    drop(batcher);
    tasks.close();
    tasks.wait().await;
}
