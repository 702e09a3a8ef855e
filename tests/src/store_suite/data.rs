//! Values survive as they are, or the batch is refused whole.

use std::slice::from_ref;
use std::sync::Arc;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId, END_NODE};
use skein_shared::domain::limits;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::state::NodeState;
use skein_shared::store::engine::{
    ANSWER_BYTES_MAX, Claim, ClaimRequest, Commit, NewRow, NewRowState, ReadRequest, Upstream,
};
use skein_shared::store::runs::{NewRun, NodeRun};
use skein_shared::store::{Store, StoreError};

use super::world::{World, ended, kept, queued, span, succeed};

fn awkward() -> Vec<String> {
    [
        r#""\u0000""#,
        r#"{"\u0000": "a\u0000b", "\ud83d\ude00": "😀 grüße \u202e"}"#,
        "123456789012345678901234567890123456789",
        "-0.0",
        "1e400",
        r#"{"b":1, "a":2 , "b":3}"#,
        " [ ] ",
        "null",
        r#""""#,
    ]
    .map(str::to_owned)
    .into()
}

/// Inputs and outputs come back byte by byte, wherever they are read.
pub async fn json_survives_byte_by_byte(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    for text in awkward() {
        let run = NewRun { input: text.clone(), ..world.run_of(&["a"]) };
        world.store.accept_runs(from_ref(&run)).await.unwrap();
        let a = world.won(lease, run.id, "a").await;
        assert_eq!(&*a.run.input, text);
        let both = |text: &String| (Some(text.clone()), text.clone());
        let (input, output) = both(&text);
        let inlined = NewRow {
            state: AttemptOutcome::Succeeded { input: input.clone(), output: output.clone() }
                .into(),
            ..kept("b")
        };
        let outcome = AttemptOutcome::Succeeded { input, output };
        let end = kept("end");
        world.flip(lease, Commit { rows: vec![inlined, end], ..ended(&a, outcome, None) }).await;
        for node in ["a", "b"] {
            let row = world.node(run.id, node).await;
            assert_eq!((row.input.as_ref(), row.output.as_ref()), (Some(&text), Some(&text)));
            assert_eq!(world.upstream(run.id, node).await.unwrap().output.as_deref(), Some(&*text));
        }
        assert_eq!(world.detail(run.id).await.input, text);
    }
}

/// The largest output, twice in one commit.
pub async fn large_outputs_survive(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    // Random, so that compression does not hide a limit.
    let text = random_text(limits::OUTPUT_BYTES_MAX);
    let state =
        AttemptOutcome::Succeeded { input: Some(text.clone()), output: text.clone() }.into();
    let outcome = AttemptOutcome::Succeeded { input: Some(text.clone()), output: text.clone() };
    let rows = vec![NewRow { state, ..kept("b") }];
    world.flip(lease, Commit { rows, ..ended(&a, outcome, None) }).await;
    for node in ["a", "b"] {
        assert_eq!(world.upstream(run, node).await.unwrap().output.as_deref(), Some(&*text));
    }
}

/// A worker's reads are read in parts, and put together again.
pub async fn many_outputs_are_read_at_once(store: Arc<dyn Store>) {
    const NODES: usize = 150;
    let world = World::new(store).await;
    let lease = world.lease().await;
    let name = |index: usize| format!("n{index}");
    let mut requests = Vec::new();
    for run in world.accept_many(2, &["a"]).await {
        let a = world.won(lease, run, "a").await;
        let inlined = |index: usize| {
            let output = index.to_string();
            let state = AttemptOutcome::Succeeded { input: None, output }.into();
            NewRow { state, ..kept(&name(index)) }
        };
        let rows = (0..NODES).map(inlined).collect();
        world.flip(lease, Commit { rows, ..succeed(&a) }).await;
        let outputs = (0..NODES).map(|index| name(index).into()).collect();
        requests.push(ReadRequest { run, scope: "".into(), outputs, spans: vec!["a".into()] });
    }
    let replies = read_all(&world, &requests).await.concat();
    for reply in &replies {
        assert_eq!(reply.len(), NODES + 1);
        for read in reply {
            assert_eq!(read.output.as_deref(), read.node.strip_prefix('n'), "{}", read.node);
        }
    }
    assert_eq!(replies.len(), 2);
}

/// JSON text of about so many bytes, random, so that compression does not hide a limit.
fn random_text(bytes: usize) -> String {
    let mut text = String::from("\"");
    while text.len() < bytes - 33 {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    text.push('"');
    text
}

/// Reads as a worker does: what one answer leaves out is asked for again. One list for each answer.
async fn read_all(world: &World, mut requests: &[ReadRequest]) -> Vec<Vec<Vec<Upstream>>> {
    let mut answers = Vec::new();
    while !requests.is_empty() {
        let replies = world.store.read_upstream(requests).await.unwrap();
        assert!(!replies.is_empty(), "each answer is of one request at least");
        requests = &requests[replies.len()..];
        answers.push(replies);
    }
    answers
}

/// Outputs that many read at once are answered in parts, and an output that all of them read comes once.
pub async fn an_answer_to_reads_has_a_limit_in_bytes(store: Arc<dyn Store>) {
    const RUNS: usize = 10;
    let world = World::new(store).await;
    let lease = world.lease().await;
    let mut requests = Vec::new();
    let request =
        |run| ReadRequest { run, scope: "".into(), outputs: vec!["a".into()], spans: vec![] };
    for run in world.accept_many(RUNS, &["a"]).await {
        // Every other one is small where it is stored.
        let bytes = limits::OUTPUT_BYTES_MAX;
        let output = match requests.len() % 2 {
            0 => random_text(bytes),
            _ => format!("\"{}\"", "x".repeat(bytes - 2)),
        };
        let a = world.won(lease, run, "a").await;
        world.flip(lease, ended(&a, AttemptOutcome::Succeeded { input: None, output }, None)).await;
        requests.push(request(run));
    }
    let answers = read_all(&world, &requests).await;
    for answer in &answers {
        let outputs = answer.iter().flatten().filter_map(|read| read.output.as_ref());
        assert!(outputs.map(|output| output.len()).sum::<usize>() <= ANSWER_BYTES_MAX);
    }
    assert_eq!(answers.len(), 2, "and as much of it as fits");
    assert_eq!(answers.concat().len(), RUNS);

    let same = vec![requests[0].clone(); 50];
    let answers = read_all(&world, &same).await;
    assert_eq!(answers.len(), 1);
    let mut outputs = answers[0].iter().map(|reply| reply[0].output.as_ref().unwrap());
    let first = outputs.next().unwrap();
    assert!(outputs.all(|output| Arc::ptr_eq(output, first)), "each of them has its own copy");
}

/// Claims whose runs have large inputs are answered in parts; what is left out stays as it was. An input that many
/// claims share comes once.
pub async fn an_answer_to_claims_has_a_limit_in_bytes(store: Arc<dyn Store>) {
    const RUNS: usize = 40;
    let world = World::new(store).await;
    let bytes = limits::INPUT_BYTES_MAX;
    let input = |index: usize| match index % 2 {
        0 => random_text(bytes),
        _ => format!("\"{}\"", "x".repeat(bytes - 2)),
    };
    let run_of = |index| NewRun { input: input(index), ..world.run_of(&["a"]) };
    let runs: Vec<_> = (0..RUNS).map(run_of).collect();
    world.store.accept_runs(&runs).await.unwrap();
    let request =
        |run, node: &str| ClaimRequest { key: ActivationKey::root(run, node), span: span() };
    let batch: Vec<_> = runs.iter().map(|run| request(run.id, "a")).collect();
    let lease = world.lease().await;
    let mut rest = &batch[..];
    let mut answers = 0;
    while !rest.is_empty() {
        let claims = world.store.claim(lease, false, rest).await.unwrap();
        let (asked, left) = rest.split_at(claims.len());
        let mut bytes = 0;
        for (claim, request) in claims.iter().zip(asked) {
            let Claim::Won(claimed) = claim else { panic!("{claim:?}") };
            assert_eq!((&claimed.key, claimed.claim, claimed.started_run), (&request.key, 1, true));
            bytes += claimed.run.input.len();
        }
        assert!(0 < bytes && bytes <= ANSWER_BYTES_MAX, "{bytes} bytes in one answer");
        for request in left {
            let row = world.upstream(request.key.run, "a").await.unwrap();
            assert_eq!((row.state, row.span), (NodeState::Queued, None));
        }
        (answers, rest) = (answers + 1, left);
    }
    assert_eq!(answers, 2, "and as much of it as fits");

    let nodes: Vec<_> = (0..100).map(|index| format!("n{index}")).collect();
    let names: Vec<_> = nodes.iter().map(String::as_str).collect();
    let wide = NewRun { input: input(0), ..world.run_of(&names) };
    world.store.accept_runs(from_ref(&wide)).await.unwrap();
    let batch: Vec<_> = names.iter().map(|node| request(wide.id, node)).collect();
    let claims = world.store.claim(lease, false, &batch).await.unwrap();
    let inputs = claims.iter().map(|claim| match claim {
        Claim::Won(claimed) => &claimed.run.input,
        other => panic!("{other:?}"),
    });
    let inputs: Vec<_> = inputs.collect();
    assert_eq!((inputs.len(), &**inputs[0]), (names.len(), &*wide.input));
    assert!(inputs.iter().all(|input| Arc::ptr_eq(input, inputs[0])), "each has its own copy");
}

/// A run shows its inputs and outputs up to a limit; each activation has its own, whole.
pub async fn what_a_run_shows_is_bounded(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let input = format!("\"{}\"", "i".repeat(1000));
    let run = NewRun { input: input.clone(), ..world.run_of(&["a"]) };
    world.store.accept_runs(from_ref(&run)).await.unwrap();
    let fresh = world.store.find_run(&world.tenant, run.id, 0).await.unwrap().unwrap();
    assert!(!fresh.nodes[0].omitted, "there is nothing yet that could be left out");
    let lease = world.lease().await;
    let error = Failure::new("timeout", "too slow");
    let retry = AttemptOutcome::Retry { input: None, error, delay: std::time::Duration::ZERO };
    let a = world.won(lease, run.id, "a").await;
    world.flip(lease, ended(&a, retry, None)).await;
    world.sweep(run.id).await;
    let a = world.won(lease, run.id, "a").await;
    // The input counts as well, so that the fourth is one too many.
    let output = format!("\"{}\"", "o".repeat(limits::RUN_VALUES_BYTES_MAX / 4 - 2));
    let params = "{}".to_owned();
    let state = NewRowState::from(AttemptOutcome::Succeeded {
        input: Some(params.clone()),
        output: output.clone(),
    });
    let inlined = ["b", "c", "d", "e"].map(|node| NewRow { state: state.clone(), ..kept(node) });
    let outcome = AttemptOutcome::Succeeded { input: Some(params.clone()), output: output.clone() };
    world.flip(lease, Commit { rows: inlined.into(), ..ended(&a, outcome, None) }).await;

    let detail = world.detail(run.id).await;
    assert_eq!(detail.input, input);
    let omitted: Vec<_> = detail.nodes.iter().map(|row| (&*row.node, row.omitted)).collect();
    assert_eq!(omitted, [("a", false), ("b", false), ("c", false), ("d", true), ("e", true)]);
    for row in &detail.nodes {
        let shown = (!row.omitted).then_some(&output);
        assert_eq!(row.output.as_ref(), shown, "{}", row.node);
        assert_eq!(row.input.as_ref(), shown.and(Some(&params)), "{}", row.node);
        let key = ActivationKey::root(run.id, &*row.node);
        let alone = world.store.find_node(&world.tenant, &key).await.unwrap().unwrap();
        assert_eq!(alone.earlier.len(), usize::from(row.node == "a"), "{}", row.node);
        let whole = (Some(&params), Some(&output));
        assert_eq!((alone.input.as_ref(), alone.output.as_ref()), whole, "{}", row.node);
        let as_shown = NodeRun {
            input: row.input.clone(),
            output: row.output.clone(),
            omitted: row.omitted,
            ..alone
        };
        assert_eq!(as_shown, *row);
    }
    let bare = world.store.find_run(&world.tenant, run.id, 0).await.unwrap().unwrap();
    assert_eq!((&bare.input, &bare.summary), (&input, &detail.summary));
    for (row, shown) in bare.nodes.iter().zip(&detail.nodes) {
        let (input, output) = (None, None);
        let as_bare = NodeRun { input, output, omitted: true, ..shown.clone() };
        assert_eq!(*row, as_bare, "{}", row.node);
    }
    for (node, scope) in [("x", ""), ("a", "0"), (END_NODE, "")] {
        let key = ActivationKey { run: run.id, node: node.into(), scope: scope.into() };
        assert_eq!(world.store.find_node(&world.tenant, &key).await.unwrap(), None, "{node}");
    }
}

/// A run shows the earlier attempts of its nodes up to a number; each activation has its own, all of them.
pub async fn attempts_that_a_run_shows_are_bounded(store: Arc<dyn Store>) {
    const ATTEMPTS: usize = 10;
    let world = World::new(store).await;
    let names: Vec<_> =
        (0..=limits::RUN_ATTEMPTS_MAX / ATTEMPTS).map(|index| format!("n{index:03}")).collect();
    let run = world.accept(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let lease = world.lease().await;
    let keys: Vec<_> = names.iter().map(|node| ActivationKey::root(run, &**node)).collect();
    for _ in 0..ATTEMPTS {
        let batch = keys.iter().map(|key| ClaimRequest { key: key.clone(), span: span() });
        let batch: Vec<_> = batch.collect();
        let claims = world.store.claim(lease, true, &batch).await.unwrap();
        let retries = claims.iter().map(|claim| {
            let Claim::Won(claimed) = claim else { panic!("{claim:?}") };
            let error = Failure::new("timeout", "x".repeat(limits::ERROR_BYTES_MAX));
            let delay = std::time::Duration::ZERO;
            ended(claimed, AttemptOutcome::Retry { input: None, error, delay }, None)
        });
        let retries: Vec<_> = retries.collect();
        let committed = world.store.commit(lease, &retries).await.unwrap();
        assert!(committed.len() == names.len() && committed.iter().all(|it| it.flipped));
        world.sweep(run).await;
    }
    let detail = world.detail(run).await;
    assert_eq!(detail.nodes.len(), names.len());
    for (index, row) in detail.nodes.iter().enumerate() {
        let is_last = index + 1 == names.len();
        let shown = if is_last { 0 } else { ATTEMPTS };
        assert_eq!((row.earlier.len(), row.attempts_omitted), (shown, is_last), "{}", row.node);
        assert_eq!(row.attempts as usize, ATTEMPTS, "{}", row.node);
    }
    for (key, row) in keys.iter().zip(&detail.nodes) {
        let alone = world.store.find_node(&world.tenant, key).await.unwrap().unwrap();
        assert_eq!((alone.earlier.len(), alone.attempts_omitted), (ATTEMPTS, false));
        let earlier = if row.attempts_omitted { Vec::new() } else { alone.earlier.clone() };
        assert_eq!(NodeRun { earlier, attempts_omitted: row.attempts_omitted, ..alone }, *row);
    }
}

/// Error messages of any content, on the node, on the attempt and on the run.
pub async fn failures_survive(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    for message in ["", "\0 nul", "\"quoted\" \\ 😀\n", &"ü".repeat(2000)] {
        let run = world.accept(&["a"]).await;
        let error = Failure::new("http_status", message);
        let a = world.won(lease, run, "a").await;
        let retry = AttemptOutcome::Retry {
            input: None,
            error: error.clone(),
            delay: std::time::Duration::from_secs(3600),
        };
        world.flip(lease, ended(&a, retry, None)).await;
        world.sweep(run).await;
        let a = world.won(lease, run, "a").await;
        let outcome = AttemptOutcome::Failed { input: None, output: None, error: error.clone() };
        let effect = skein_shared::store::engine::RunChange::Fail(error.clone());
        world.flip(lease, Commit { run: effect, ..ended(&a, outcome, None) }).await;
        let end =
            world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.remove(0);
        assert_eq!(end.error.as_ref(), Some(&error));
        let detail = world.detail(run).await;
        assert_eq!(detail.summary.error.as_ref(), Some(&error));
        assert_eq!(detail.nodes[0].error.as_ref(), Some(&error));
        assert_eq!(detail.nodes[0].earlier[0].error.as_ref(), Some(&error));
    }
}

/// One commit of a batch cannot be applied (its successor is there already): none of them is, and the batcher that
/// splits the batch finds the culprit.
pub async fn a_batch_is_applied_whole_or_not_at_all(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "there"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let b = world.won(lease, run, "b").await;
    let good = Commit { rows: vec![queued("next")], ..succeed(&a) };
    let bad = Commit { rows: vec![queued("there")], ..succeed(&b) };
    for batch in [[good.clone(), bad.clone()], [bad.clone(), good.clone()]] {
        let refused = world.store.commit(lease, &batch).await;
        assert!(matches!(refused, Err(StoreError::Data(_))), "{refused:?}");
        assert_eq!(world.state(run, "a").await, Some(NodeState::Running));
        assert_eq!(world.state(run, "b").await, Some(NodeState::Running));
        assert_eq!(world.state(run, "next").await, None);
    }
    assert!(world.commit(lease, good).await.flipped);
    let log = world.log(run, 5).await;
    assert_eq!(log.iter().filter(|row| row.event == "node.succeeded").count(), 1);
}

/// Nothing to do is done.
pub async fn empty_batches_are_fine(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    assert_eq!(world.store.accept_runs(&[]).await.unwrap(), []);
    assert_eq!(world.store.claim(lease, true, &[]).await.unwrap().len(), 0);
    assert_eq!(world.store.commit(lease, &[]).await.unwrap().len(), 0);
    assert_eq!(world.store.read_upstream(&[]).await.unwrap(), Vec::<Vec<_>>::new());
    assert_eq!(world.store.ended_runs(&[]).await.unwrap(), []);
}
