//! What the engine does about long chains, wide fans, failures, cancellation, crashes and limits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::ids::{ActivationKey, LeaseId, RunId};
use skein_shared::domain::limits::{
    CRASH_STRIKES_MAX, CRASHES_IN_COMPANY_MAX, CRASHES_UNSUSPECTED_MAX,
};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, ClaimRequest, NewLease};
use skein_shared::store::recovery::ReapScope;
use skein_shared::store::runs::{LogRow, NodeRun, RunDetail};
use skein_tests::store_suite::world::span;
use skein_tests::{postgres, sqlite};
use skein_worker::Settings;

use crate::fleet::{Fleet, node, settings};
use crate::server::Server;

/// Runs a scenario with so many workers over a fresh SQLite store.
async fn with_fleet<F, Fut>(workers: usize, scenario: F)
where
    F: FnOnce(Fleet, Server) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    sqlite::with_store(move |store| on_store(store, workers, scenario)).await;
}

async fn on_store<F, Fut>(store: Arc<dyn Store>, workers: usize, scenario: F)
where
    F: FnOnce(Fleet, Server) -> Fut,
    Fut: Future<Output = ()>,
{
    let fleet = Fleet::start(store, Arc::new(InProcess::new()), workers);
    scenario(fleet, Server::start().await).await;
}

fn workflow(nodes: &[Value], edges: &[(&str, &str)]) -> Value {
    let edges: Vec<_> = edges.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    json!({ "name": "w", "nodes": nodes, "edges": edges })
}

fn get(id: &str, url: &str) -> Value {
    json!({ "id": id, "type": "http", "params": { "url": url } })
}

/// The run of a workflow of one node, once it has ended.
async fn alone(fleet: &Fleet, node: Value) -> RunDetail {
    let published = fleet.publish(&workflow(&[node], &[])).await;
    let run = fleet.start_run(&published, &json!({})).await;
    fleet.ended(run).await
}

fn code(detail: &RunDetail) -> &str {
    &detail.summary.error.as_ref().expect("it failed").code
}

fn only(detail: &RunDetail) -> &NodeRun {
    assert_eq!(detail.nodes.len(), 1);
    &detail.nodes[0]
}

/// A chain of nodes `n0`, `n1` ..., each of them made by `make`.
fn chain(length: usize, make: impl Fn(usize) -> Value) -> Value {
    let nodes: Vec<_> = (0..length).map(make).collect();
    let ids: Vec<_> = (0..length).map(|at| format!("n{at}")).collect();
    let edges: Vec<_> = ids.windows(2).map(|pair| (&*pair[0], &*pair[1])).collect();
    workflow(&nodes, &edges)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_longer_than_what_is_run_inline_ends() {
    with_fleet(2, async |fleet, server| {
        let pure = chain(80, |at| {
            let value =
                if at == 0 { "{{ 0 }}".into() } else { format!("{{{{ nodes.n{} + 1 }}}}", at - 1) };
            json!({ "id": format!("n{at}"), "type": "transform", "params": { "value": value } })
        });
        let published = fleet.publish(&pure).await;
        let run = fleet.start_run(&published, &json!({})).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.output.as_deref(), Some(r#"{"n79":79}"#));

        let asking = chain(40, |at| get(&format!("n{at}"), &server.answer(&format!("n{at}"))));
        let published = fleet.publish(&asking).await;
        let run = fleet.start_run(&published, &json!({})).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded);
        for at in 0..40 {
            assert_eq!(server.hits(&format!("n{at}")).len(), 1);
        }
        fleet.stop().await;
    })
    .await;
}

/// Two hundred nodes between a hub and a join, half of them requests. The join adds them up in parts.
async fn fan_out(fleet: Fleet, server: Server) {
    const WIDTH: usize = 200;
    const PART: usize = 50;
    let mut nodes = vec![json!({ "id": "hub", "type": "transform", "params": { "value": 1 } })];
    let ids: Vec<_> = (0..WIDTH).map(|at| format!("n{at}")).collect();
    let mut terms = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        nodes.push(if at % 2 == 0 {
            terms.push(format!("nodes.{id}"));
            json!({ "id": id, "type": "transform", "params": { "value": "{{ nodes.hub }}" } })
        } else {
            terms.push(format!("nodes.{id}.body"));
            get(id, &server.answer(id))
        });
    }
    let sums = terms.chunks(PART).map(|part| format!("{{{{ {} }}}}", part.join(" + ")));
    let value: Vec<_> = sums.collect();
    nodes.push(json!({ "id": "join", "type": "transform", "params": { "value": value } }));
    let mut edges: Vec<_> = ids.iter().map(|id| ("hub", id.as_str())).collect();
    edges.extend(ids.iter().map(|id| (id.as_str(), "join")));
    let published = fleet.publish(&workflow(&nodes, &edges)).await;
    let run = fleet.start_run(&published, &json!({})).await;
    let detail = fleet.ended(run).await;
    let output = json!({ "join": vec![PART; WIDTH / PART] }).to_string();
    assert_eq!(detail.output, Some(output), "{}", fleet.story(run).await);
    assert!(detail.nodes.iter().all(|row| row.attempts == 1));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wide_fan_out_is_joined_on_sqlite() {
    with_fleet(2, fan_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wide_fan_out_is_joined_on_postgresql() {
    postgres::with_store(|store| on_store(store, 2, fan_out)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_request_is_tried_as_often_as_its_policy_says() {
    with_fleet(2, async |fleet, server| {
        let post = |url: String, attempts: u32| {
            json!({
                "id": "a", "type": "http", "params": { "method": "POST", "url": url },
                "retry": { "max_attempts": attempts, "backoff": "5ms" },
            })
        };
        let detail = alone(&fleet, post(server.fail(2, 503, "mends"), 3)).await;
        assert_eq!(detail.summary.state, RunState::Succeeded);
        let row = only(&detail);
        assert_eq!((row.attempts, row.earlier.len()), (3, 2), "{row:?}");
        assert!(
            row.earlier.iter().all(|attempt| attempt.outcome == "retry" && attempt.error.is_some())
        );
        let hits = server.hits("mends");
        let key = ActivationKey::root(detail.summary.id, "a").idempotency_key();
        assert_eq!(hits.len(), 3);
        assert!(hits.iter().all(|hit| hit.key.as_ref() == Some(&key)), "{hits:?}");

        let detail = alone(&fleet, post(server.fail(9, 503, "stays"), 3)).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "http_status"));
        assert_eq!((only(&detail).attempts, server.hits("stays").len()), (3, 3));

        let detail = alone(&fleet, post(server.fail(9, 404, "hopeless"), 3)).await;
        assert_eq!(detail.summary.state, RunState::Failed);
        assert_eq!((only(&detail).attempts, server.hits("hopeless").len()), (1, 1));
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_more_patience_than_the_author_has_fails_the_node_at_once() {
    with_fleet(1, async |fleet, server| {
        let asking = |url: String, max: &str| {
            json!({
                "id": "a", "type": "http", "params": { "url": url },
                "retry": { "max_attempts": 3, "backoff": "1ms", "max_retry_after": max },
            })
        };
        let detail = alone(&fleet, asking(server.later(7_200, "long"), "10m")).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "http_status"));
        assert_eq!((only(&detail).attempts, server.hits("long").len()), (1, 1));
        let message = &detail.summary.error.as_ref().unwrap().message;
        assert!(
            message.contains("2h") && message.contains("`max_retry_after` of 10m"),
            "{message}"
        );

        let detail = alone(&fleet, asking(server.later(0, "soon"), "0s")).await;
        assert_eq!((only(&detail).attempts, server.hits("soon").len()), (3, 3));
        let message = &detail.summary.error.as_ref().unwrap().message;
        assert!(!message.contains("max_retry_after"), "{message}");
        fleet.stop().await;
    })
    .await;
}

/// A message that comes while the attempt before it is being put away must not be lost: the sweeper would
/// repeat it after half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_in_quick_succession_do_not_wait_for_each_other() {
    with_fleet(2, async |fleet, server| {
        let node = json!({
            "id": "a", "type": "http", "params": { "url": server.fail(usize::MAX, 503, "never") },
            "retry": { "max_attempts": 30, "backoff": "1ms", "max_backoff": "1ms" },
        });
        let published = fleet.publish(&workflow(&[node], &[])).await;
        let mut runs = Vec::new();
        for _ in 0..4 {
            runs.push(fleet.start_run(&published, &json!({})).await);
        }
        for run in runs {
            assert_eq!(only(&fleet.ended(run).await).attempts, 30);
        }
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_takes_too_long_is_ended_and_tried_again() {
    with_fleet(1, async |fleet, server| {
        let node = json!({
            "id": "a", "type": "http", "timeout": "150ms", "params": { "url": server.hang(1, "slow") },
            "retry": { "max_attempts": 2, "backoff": "1ms" },
        });
        let detail = alone(&fleet, node).await;
        assert_eq!(detail.summary.state, RunState::Succeeded);
        let row = only(&detail);
        let first = row.earlier[0].error.as_ref().expect("it failed");
        assert_eq!((&*first.code, row.attempts), ("timeout", 2));
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_cancelled_while_it_works_and_while_it_waits() {
    with_fleet(2, async |fleet, server| {
        let slow = get("a", &server.hang(1, "slow"));
        let after = get("b", &server.answer("after"));
        let published = fleet.publish(&workflow(&[slow, after], &[("a", "b")])).await;
        let working = fleet.start_run(&published, &json!({})).await;
        server.hit("slow").await;
        let delay = json!({ "id": "a", "type": "delay", "params": { "for": "1h" } });
        let published = fleet.publish(&workflow(&[delay], &[])).await;
        let waiting = fleet.start_run(&published, &json!({})).await;
        let waits = |detail: &RunDetail| {
            node(detail, "a").is_some_and(|row| row.state == NodeState::Waiting)
        };
        fleet.until(waiting, waits).await;
        for run in [working, waiting] {
            fleet.store.request_cancel(&fleet.tenant, run).await.unwrap();
            let detail = fleet.ended(run).await;
            assert_eq!(detail.summary.state, RunState::Cancelled);
            assert!(detail.nodes.iter().all(|row| row.state == NodeState::Cancelled), "{detail:?}");
        }
        assert_eq!(server.hits("after"), []);
        fleet.stop().await;
    })
    .await;
}

/// A rolling upgrade: the workflow uses what only later workers know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_no_worker_can_read_says_so_and_can_be_cancelled() {
    with_fleet(1, async |fleet, _| {
        let document =
            workflow(&[json!({ "id": "a", "type": "log", "params": { "message": "hi" } })], &[]);
        let later = document.to_string().replace("\"log\"", "\"telepathy\"");
        let published = fleet.publish_as(&document, later).await;
        let run = fleet.start_run(&published, &json!({})).await;
        let is_deferred = |detail: &RunDetail| {
            let row = only(detail);
            row.state == NodeState::Queued && !row.earlier.is_empty()
        };
        let detail = fleet.until(run, is_deferred).await;
        assert_eq!(only(&detail).attempts, 0);
        let log = fleet.log(run).await;
        let logged = log.iter().find(|row| row.event == "node.put_off").expect("it is logged");
        assert_eq!((&*logged.level, logged.node.as_deref()), ("warn", Some("a")));
        assert!(
            logged.message.contains("does not compile with this release"),
            "{}",
            logged.message
        );
        fleet.store.request_cancel(&fleet.tenant, run).await.unwrap();
        assert_eq!(fleet.ended(run).await.summary.state, RunState::Cancelled);
        fleet.stop().await;
    })
    .await;
}

/// A condition that cannot be evaluated goes on along the branch that its default names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_fails_takes_the_branch_of_its_default() {
    with_fleet(1, async |fleet, _| {
        let document = json!({
            "name": "w",
            "nodes": [
                { "id": "choose", "type": "condition", "params": { "if": "{{ input.n | float > 3 }}" },
                  "on_error": "continue", "default": { "branch": "false" } },
                { "id": "yes", "type": "transform", "params": { "value": "yes" } },
                { "id": "no", "type": "transform", "params": { "value": "no" } },
            ],
            "edges": [
                { "from": "choose", "to": "yes", "branch": "true" },
                { "from": "choose", "to": "no", "branch": "false" },
            ],
            "output": "{{ nodes.no }} after {{ nodes.choose.branch }}",
        });
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &json!({ "n": "many" })).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.output.as_deref(), Some("\"no after false\""), "{detail:#?}");
        let states = ["choose", "yes", "no"].map(|id| node(&detail, id).unwrap().state);
        assert_eq!(states, [NodeState::Failed, NodeState::Skipped, NodeState::Succeeded]);
        fleet.stop().await;
    })
    .await;
}

/// A source that may not be there, and an error branch with `fail` at its end.
fn alarm(source: &str) -> Value {
    json!({
        "name": "w",
        "nodes": [
            { "id": "ask", "type": "http", "params": { "url": source }, "on_error": "branch" },
            { "id": "use", "type": "transform", "params": { "value": "{{ nodes.ask.status }}" } },
            { "id": "tell", "type": "log", "params": { "message": "told {{ input.who }}" } },
            { "id": "stop", "type": "fail", "params": {
                "code": "{{ input.code | default(nodes.ask.error.code) }}",
                "message": "{{ input.who }} was told of {{ nodes.ask.error.code }}",
            } },
        ],
        "edges": [
            { "from": "ask", "to": "use" },
            { "from": "ask", "to": "tell", "on": "error" },
            { "from": "tell", "to": "stop" },
        ],
    })
}

/// A run fails with the code and message of its workflow, behind what was to happen first; and only where its branch is
/// taken.
async fn on_purpose(fleet: Fleet, server: Server) {
    let published = fleet.publish(&alarm(&server.fail(9, 404, "feed"))).await;
    for (input, code) in [
        (json!({ "who": "Ann", "code": "no_feed" }), "no_feed"),
        // What the other node has failed with, passed on.
        (json!({ "who": "Ann" }), "http_status"),
    ] {
        let run = fleet.start_run(&published, &input).await;
        let detail = fleet.ended(run).await;
        assert_eq!((detail.summary.state, detail.output.as_deref()), (RunState::Failed, None));
        let error = detail.summary.error.as_ref().expect("it failed");
        let said = (&*error.code, &*error.message, error.node.as_deref());
        assert_eq!(said, (code, "Ann was told of http_status", Some("stop")));
        let stop = node(&detail, "stop").expect("it has a row");
        let own = stop.error.as_ref().expect("it failed");
        assert_eq!((&*own.code, &own.message, own.node.as_deref()), (code, &error.message, None));
        assert_eq!((stop.state, stop.attempts, stop.earlier.len()), (NodeState::Failed, 1, 0));
        assert!(stop.span.is_some() && stop.output.is_none(), "{stop:?}");
        let states = ["ask", "use", "tell"].map(|id| node(&detail, id).map(|row| row.state));
        let expected = [NodeState::Failed, NodeState::Skipped, NodeState::Succeeded];
        assert_eq!(states, expected.map(Some), "{}", fleet.story(run).await);
        let log = fleet.log(run).await;
        let at = |event: &str, id: &str| {
            let of = |row: &&LogRow| row.event == event && row.node.as_deref() == Some(id);
            log.iter().filter(of).count()
        };
        assert_eq!((at("log", "tell"), at("node.failed", "stop")), (1, 1), "{log:?}");
        let failed = log.iter().find(|row| row.node.as_deref() == Some("stop")).expect("a row");
        assert_eq!((&*failed.level, Some(failed.span)), ("error", stop.span), "{failed:?}");
    }

    let published = fleet.publish(&alarm(&server.answer("there"))).await;
    let run = fleet.start_run(&published, &json!({ "who": "Ann" })).await;
    let detail = fleet.ended(run).await;
    assert_eq!(detail.output.as_deref(), Some(r#"{"use":200}"#), "{}", fleet.story(run).await);
    assert_eq!(node(&detail, "stop").map(|row| row.state), Some(NodeState::Skipped));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_fails_on_purpose_on_sqlite() {
    with_fleet(2, on_purpose).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_fails_on_purpose_on_postgresql() {
    postgres::with_store(|store| on_store(store, 2, on_purpose)).await;
}

/// Nothing before it: it is claimed as any node is, and not computed in somebody else's commit. What it is to fail with
/// may be wrong itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_cannot_be_told_fails_its_run_all_the_same() {
    with_fleet(1, async |fleet, _| {
        let fail = |code: &str| {
            let params = json!({ "code": code, "message": "for a reason" });
            json!({ "id": "a", "type": "fail", "params": params })
        };
        let detail = alone(&fleet, fail("no_feed")).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "no_feed"));
        assert_eq!((only(&detail).attempts, only(&detail).earlier.len()), (1, 0));

        let detail = alone(&fleet, fail("{{ 'No ' ~ 'feed' }}")).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "invalid_params"));
        let message = &detail.summary.error.as_ref().expect("it failed").message;
        assert!(message.starts_with("`code` must be ") && !message.contains("No "), "{message}");
        assert!(only(&detail).input.as_ref().is_some_and(|input| input.contains("for a reason")));

        let detail = alone(&fleet, fail("{{ input.code.of.nothing }}")).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "expression"));
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_too_large_fails_its_node() {
    with_fleet(1, async |fleet, _| {
        let value = format!("{{{{ {} }}}}", ["input.text"; 6].join(" ~ "));
        let node = json!({ "id": "a", "type": "transform", "params": { "value": value } });
        let published = fleet.publish(&workflow(&[node], &[])).await;
        let run = fleet.start_run(&published, &json!({ "text": "x".repeat(200_000) })).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Failed);
        assert!(["expression", "output_too_large"].contains(&code(&detail)), "{detail:?}");
        assert_eq!(only(&detail).output, None);
        fleet.stop().await;
    })
    .await;
}

/// NUL is legal in JSON, and no text column of PostgreSQL can hold it.
async fn nul(fleet: Fleet, _: Server) {
    let nodes = [
        json!({ "id": "a", "type": "transform", "params": { "value": "{{ input.text }}" } }),
        json!({ "id": "b", "type": "log", "params": { "message": "{{ nodes.a }}" } }),
        json!({ "id": "c", "type": "delay", "params": { "for": "1ms" } }),
        json!({ "id": "d", "type": "transform", "params": { "value": "{{ nodes.a }}" } }),
    ];
    let edges = [("a", "b"), ("b", "c"), ("c", "d")];
    let published = fleet.publish(&workflow(&nodes, &edges)).await;
    let run = fleet.start_run(&published, &json!({ "text": "a\0b" })).await;
    let detail = fleet.ended(run).await;
    assert_eq!(detail.output.as_deref(), Some(r#"{"d":"a\u0000b"}"#), "{}", fleet.story(run).await);
    let log = fleet.log(run).await;
    assert!(log.iter().any(|row| row.event == "log" && row.message == "a\u{fffd}b"), "{log:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nul_passes_through_a_run_on_sqlite() {
    with_fleet(1, nul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nul_passes_through_a_run_on_postgresql() {
    postgres::with_store(|store| on_store(store, 1, nul)).await;
}

/// A worker takes the node and dies over it.
pub(crate) async fn crash(fleet: &Fleet, run: RunId, node: &str) {
    let lease = NewLease {
        id: LeaseId::generate(),
        host: "test".to_owned(),
        pid: 1,
        version: "0.0.0",
        slots: 4,
        ttl: Duration::from_millis(1),
    };
    fleet.store.open_lease(&lease).await.unwrap();
    let request = ClaimRequest { key: ActivationKey::root(run, node), span: span() };
    let claims = fleet.store.claim(lease.id, true, &[request]).await.unwrap();
    assert!(matches!(claims[0], Claim::Won(_)), "{claims:?}");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(fleet.store.reap(10, ReapScope::ALL).await.unwrap().len(), 1);
}

/// The run of one node that crashed its worker so often, once real workers have ended it.
async fn after_crashes(fleet: &mut Fleet, node: Value, crashes: u32) -> RunDetail {
    let published = fleet.publish(&workflow(&[node], &[])).await;
    let run = fleet.accept_silently(&published, &json!({})).await;
    for _ in 0..crashes {
        crash(fleet, run, "a").await;
    }
    fleet.add_worker(&settings());
    let hurry = fleet.hurry(&[run]);
    let detail = fleet.ended(run).await;
    hurry.cancel();
    fleet.drain_one();
    fleet.join_one().await;
    detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_crashes_its_workers_is_poison() {
    with_fleet(0, async |mut fleet, server| {
        let harmless = get("a", &server.answer("harmless"));
        // The second crash in a row makes a suspect; those that follow can only have been its doing.
        let crashes_max = CRASHES_UNSUSPECTED_MAX + CRASH_STRIKES_MAX;
        let detail = after_crashes(&mut fleet, harmless, crashes_max).await;
        assert_eq!(detail.summary.state, RunState::Succeeded);
        let row = only(&detail);
        assert_eq!((row.attempts, row.earlier.len()), (crashes_max + 1, 4));
        let poison = get("a", &server.answer("poison"));
        let detail = after_crashes(&mut fleet, poison, crashes_max + 1).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "poison"));
        assert_eq!((server.hits("harmless").len(), server.hits("poison").len()), (1, 0));
        fleet.stop().await;
    })
    .await;
}

/// A suspect keeps other suspects away until its first commit, not for as long as its run goes on here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_that_has_committed_lets_the_next_one_start() {
    with_fleet(0, async |mut fleet, server| {
        let nodes = [get("a", &server.answer("a")), get("long", &server.hang(1, "long"))];
        let first = fleet.publish(&workflow(&nodes, &[("a", "long")])).await;
        let first = fleet.accept_silently(&first, &json!({})).await;
        let second = fleet.publish(&workflow(&[get("a", &server.answer("b"))], &[])).await;
        let second = fleet.accept_silently(&second, &json!({})).await;
        for run in [first, second] {
            for _ in 0..=CRASHES_UNSUSPECTED_MAX {
                crash(&fleet, run, "a").await;
            }
        }
        fleet.add_worker(&Settings { drain_timeout: Duration::from_millis(100), ..settings() });
        fleet.hurry(&[first]);
        server.hit("long").await;
        fleet.hurry(&[second]);
        assert_eq!(fleet.ended(second).await.summary.state, RunState::Succeeded);
        assert!(!fleet.detail(first).await.summary.state.is_terminal());
        fleet.stop().await;
    })
    .await;
}

/// Beside others nobody could know whose doing the next crash is. So the worker lets what it holds end first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_many_crashes_runs_with_nothing_beside_it() {
    with_fleet(0, async |mut fleet, server| {
        let apart = fleet.publish(&workflow(&[get("a", &server.answer("apart"))], &[])).await;
        let apart = fleet.accept_silently(&apart, &json!({})).await;
        for _ in 0..CRASHES_IN_COMPANY_MAX {
            crash(&fleet, apart, "a").await;
        }
        let mut busy = get("a", &server.hang(1, "busy"));
        busy["timeout"] = json!("2s");
        let busy = fleet.publish(&workflow(&[busy], &[])).await;
        fleet.add_worker(&settings());
        let busy = fleet.start_run(&busy, &json!({})).await;
        server.hit("busy").await;
        fleet.hurry(&[apart]);
        let apart = fleet.ended(apart).await;
        let busy = fleet.ended(busy).await;
        assert_eq!(apart.summary.state, RunState::Succeeded);
        assert!(only(&busy).ended_at.unwrap() <= only(&apart).started_at.unwrap());
        // And then it works for everybody again.
        let other = alone(&fleet, get("a", &server.answer("other"))).await;
        assert_eq!(other.summary.state, RunState::Succeeded);
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_an_effect_that_must_not_be_repeated_fails_unless_declared_otherwise() {
    with_fleet(0, async |mut fleet, server| {
        let post = |name: &str, key: bool| {
            let params =
                json!({ "method": "POST", "url": server.answer(name), "idempotency_key": key });
            json!({ "id": "a", "type": "http", "params": params })
        };
        let detail = after_crashes(&mut fleet, post("once", false), 1).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "uncertain"));
        let mut again = post("again", false);
        again["on_uncertain"] = json!("retry");
        for node in [again, post("keyed", true)] {
            let detail = after_crashes(&mut fleet, node, 1).await;
            assert_eq!(detail.summary.state, RunState::Succeeded);
            assert_eq!(only(&detail).earlier[0].outcome, "crashed");
        }
        let hits = ["once", "again", "keyed"].map(|name| server.hits(name).len());
        assert_eq!(hits, [0, 1, 1]);
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_while_its_worker_drains_is_taken_up_by_another() {
    with_fleet(0, async |mut fleet, server| {
        let impatient = Settings { drain_timeout: Duration::from_millis(100), ..settings() };
        fleet.add_worker(&impatient);
        let published = fleet.publish(&workflow(&[get("a", &server.hang(1, "slow"))], &[])).await;
        let run = fleet.start_run(&published, &json!({})).await;
        server.hit("slow").await;
        fleet.add_worker(&settings());
        fleet.drain_one();
        fleet.join_one().await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded);
        let row = only(&detail);
        // The request was under way, so the attempt counts.
        assert_eq!((row.attempts, &*row.earlier[0].outcome), (2, "released"), "{row:?}");
        assert_eq!(server.hits("slow").len(), 2);
        fleet.stop().await;
    })
    .await;
}

/// A worker that is stopped in the middle of an effect does not know whether it happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsafe_effect_that_a_drain_cut_off_is_not_repeated() {
    with_fleet(0, async |mut fleet, server| {
        let impatient = Settings { drain_timeout: Duration::from_millis(100), ..settings() };
        fleet.add_worker(&impatient);
        let mut pay = get("pay", &server.hang(1, "pay"));
        pay["params"]["method"] = json!("POST");
        pay["params"]["idempotency_key"] = json!(false);
        let published = fleet.publish(&workflow(&[pay], &[])).await;
        let run = fleet.start_run(&published, &json!({})).await;
        server.hit("pay").await;
        fleet.add_worker(&settings());
        fleet.drain_one();
        fleet.join_one().await;
        let detail = fleet.ended(run).await;
        assert_eq!((detail.summary.state, code(&detail)), (RunState::Failed, "uncertain"));
        assert_eq!(server.hits("pay").len(), 1);
        fleet.stop().await;
    })
    .await;
}
