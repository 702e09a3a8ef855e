//! Reading runs and their logs.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::{CallId, RunId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::RunState;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::engine::{Commit, NewEvent};
use skein_shared::store::log_filter::{LogFilter, WHOLE_LOG};
use skein_shared::store::recovery::SweepOptions;
use skein_shared::store::runs::{LogRow, NewRun, RunFilter};
use skein_shared::store::{PageRequest, Store};
use skein_shared::workflow::params::log::Level;

use super::world::{PATIENCE, SWEEP, World, ended, event, fail, queued, succeed, version, words};

/// Page by page, each row once and in order; the cursor of the last page stands still.
pub async fn a_log_is_read_in_pages(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let events = (0..10).map(|_| event("a", "node.log")).collect();
    world.flip(lease, Commit { events, ..succeed(&a) }).await;
    world.cancel(run).await;
    let whole = world.log_now(run).await;
    assert_eq!(whole.len(), 15);
    for limit in [1, 4, 5, 15, 100] {
        let mut rows = Vec::new();
        let mut page = PageRequest { limit, cursor: None };
        loop {
            let read =
                world.store.run_logs(&world.tenant, run, &WHOLE_LOG, &page).await.unwrap().unwrap();
            assert!(read.items.len() <= limit as usize);
            assert_eq!(read.items.is_empty(), read.next_cursor.is_none());
            if read.items.is_empty() {
                break;
            }
            rows.extend(read.items);
            page.cursor = read.next_cursor;
        }
        assert_eq!(rows, whole, "limit {limit}");
    }
    let unknown = PageRequest { limit: 5, cursor: None };
    assert_eq!(
        world.store.run_logs(&world.tenant, RunId::generate(), &WHOLE_LOG, &unknown).await.unwrap(),
        None
    );
}

/// Follows the log of a run until that has ended, from another task than those that write.
pub async fn follow(world: World, run: RunId) -> Vec<LogRow> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut rows = Vec::new();
    let mut page = PageRequest { limit: 7, cursor: None };
    loop {
        // Asked first: what is read after the end is everything.
        let over = !world.store.ended_runs(&[run]).await.unwrap().is_empty();
        let read =
            world.store.run_logs(&world.tenant, run, &WHOLE_LOG, &page).await.unwrap().unwrap();
        let empty = read.items.is_empty();
        rows.extend(read.items);
        page.cursor = read.next_cursor.or(page.cursor);
        if empty && over {
            return rows;
        }
        assert!(tokio::time::Instant::now() < deadline, "the run does not end");
        if empty {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Six workers write at once while somebody follows: what is seen live is what is there in the end.
pub async fn a_follower_sees_every_row_once_and_in_order(store: Arc<dyn Store>) {
    const WORKERS: usize = 6;
    const STEPS: usize = 15;
    let world = World::new(store).await;
    let names: Vec<String> = (0..WORKERS).map(|worker| format!("w{worker}")).collect();
    let entries: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = world.accept(&entries).await;
    let follower = tokio::spawn(follow(world.clone(), run));
    let mut workers = tokio::task::JoinSet::new();
    for name in names {
        let world = world.clone();
        workers.spawn(async move {
            let lease = world.lease().await;
            let mut node = name.clone();
            for step in 0..STEPS {
                let claimed = world.won(lease, run, &node).await;
                let next = format!("{name}-{step}");
                let commit = Commit { rows: vec![queued(&next)], ..succeed(&claimed) };
                world.flip(lease, commit).await;
                node = next;
            }
        });
    }
    workers.join_all().await;
    world.cancel(run).await.unwrap();
    let seen = follower.await.unwrap();
    let whole = world.log_now(run).await;
    assert_eq!(seen, whole);
    let steps = words(&whole).iter().filter(|word| **word == "node.succeeded").count();
    assert_eq!(steps, WORKERS * STEPS);
    assert_eq!(words(&whole)[0], "run.accepted");
    assert_eq!(words(&whole).last(), Some(&"run.cancelled"));
}

/// A log row says what the commit gave it: level, message, data, span.
pub async fn a_log_row_is_kept_whole(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let mut written = event("a", "node.log");
    written.level = "warn";
    written.message = "grüße 😀\nsecond line".to_owned();
    written.data = Some(r#"{"b": 1, "a": "\u0000"}"#.to_owned());
    written.span = Some(super::world::span());
    written.scope = Some("3/0".into());
    let commit = Commit { events: vec![written.clone()], ..succeed(&a) };
    world.flip(lease, commit).await;
    world.cancel(run).await;
    let log = world.log_now(run).await;
    let row = log.iter().find(|row| row.event == "node.log").unwrap();
    assert_eq!((&*row.level, &row.message), ("warn", &written.message));
    assert_eq!((&row.data, Some(row.span)), (&written.data, written.span));
    assert_eq!((row.node.as_deref(), row.scope.as_deref()), (Some("a"), Some("3/0")));
}

/// Level, node and time are applied all together, in pages of any size.
pub async fn a_log_is_filtered(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let write = async |node: &str, levels: &[&'static str]| {
        let claimed = world.won(lease, run, node).await;
        let row = |level| NewEvent { level, ..event(node, "log") };
        let events = levels.iter().copied().map(row).collect();
        world.flip(lease, Commit { events, ..succeed(&claimed) }).await;
    };
    write("a", &["debug", "info", "warn", "error"]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    write("b", &["warn", "debug"]).await;
    world.cancel(run).await;
    let whole = world.log_now(run).await;
    let late = whole.iter().find(|row| row.node.as_deref() == Some("b")).unwrap().at;
    let filter = |level, node: Option<&str>, since| LogFilter {
        level,
        node: node.map(str::to_owned),
        since,
    };
    for filter in [
        filter(None, None, None),
        filter(Some(Level::Debug), None, None),
        filter(Some(Level::Warn), None, None),
        filter(Some(Level::Error), None, None),
        filter(None, Some("a"), None),
        filter(None, Some("nobody"), None),
        filter(None, None, Some(late)),
        filter(Some(Level::Warn), Some("b"), Some(late)),
        filter(Some(Level::Error), Some("b"), None),
    ] {
        let severity = |level: &str| Level::WORDS.iter().position(|word| *word == level);
        let passes = |row: &&LogRow| {
            filter.level.is_none_or(|least| severity(&row.level) >= severity(least.as_str()))
                && (filter.node.is_none() || row.node == filter.node)
                && filter.since.is_none_or(|since| row.at >= since)
        };
        let expected: Vec<_> = whole.iter().filter(passes).cloned().collect();
        for limit in [1, 3, 100] {
            let mut page = PageRequest { limit, cursor: None };
            let mut found = Vec::new();
            loop {
                let read = world.store.run_logs(&world.tenant, run, &filter, &page).await;
                let read = read.unwrap().unwrap();
                assert!(read.items.len() <= limit as usize);
                found.extend(read.items);
                match read.next_cursor {
                    Some(cursor) => page.cursor = Some(cursor),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{filter:?} in pages of {limit}");
        }
    }
}

/// What is one row among many is found by going on, and no page reads more than a part of them.
pub async fn a_filtered_log_reads_a_part_at_a_time(store: Arc<dyn Store>) {
    const ROWS: usize = 4_100;
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let mut events: Vec<_> = (0..ROWS).map(|_| event("a", "log")).collect();
    events.push(NewEvent { level: "error", ..event("a", "log") });
    world.flip(lease, Commit { events, ..succeed(&a) }).await;
    world.cancel(run).await;
    let filter = LogFilter { level: Some(Level::Error), ..LogFilter::default() };
    let mut page = PageRequest { limit: 10, cursor: None };
    let mut found = Vec::new();
    loop {
        let read = world.store.run_logs(&world.tenant, run, &filter, &page).await;
        let read = read.unwrap().unwrap();
        found.push(read.items.len());
        match read.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(found, [0, 0, 1, 0]);
}

/// Newest first, page by page.
pub async fn runs_are_listed_newest_first(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut runs = world.accept_many(7, &["a"]).await;
    runs.sort();
    runs.reverse();
    let mut found = Vec::new();
    let mut page = PageRequest { limit: 3, cursor: None };
    loop {
        let read =
            world.store.list_runs(&world.tenant, &RunFilter::default(), &page).await.unwrap();
        found.extend(read.items.iter().map(|run| run.id));
        page.cursor = read.next_cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, runs);
}

/// Pages of the runs in one state hold those and no others, whatever lies in between.
pub async fn runs_in_one_state_are_listed_in_pages(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let stranger = World::of(Arc::clone(&world.store), Identity::new("zoo", "main", "zoe")).await;
    let mut runs = world.accept_many(9, &["a"]).await;
    runs.sort();
    runs.reverse();
    let (cancelled, queued): (Vec<_>, Vec<_>) =
        runs.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    for (_, run) in &cancelled {
        world.cancel(**run).await.unwrap();
        stranger.cancel(stranger.accept(&["a"]).await).await.unwrap();
    }
    // It is to be cancelled and is not yet.
    world.store.request_cancel(&world.tenant, *queued[0].1).await.unwrap();
    for (state, expected) in [(RunState::Cancelled, cancelled), (RunState::Queued, queued)] {
        let filter = RunFilter { states: vec![state], ..RunFilter::default() };
        let mut found = Vec::new();
        let mut page = PageRequest { limit: 2, cursor: None };
        loop {
            let read = world.store.list_runs(&world.tenant, &filter, &page).await.unwrap();
            found.extend(read.items.iter().map(|run| run.id));
            page.cursor = read.next_cursor;
            if page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected.iter().map(|(_, run)| **run).collect::<Vec<_>>(), "{state}");
    }
}

/// Several states, which several indexes hold, are one listing in one order.
pub async fn runs_in_several_states_are_listed_in_pages(store: Arc<dyn Store>) {
    use RunState::{Cancelled, Failed, Queued, Running, Succeeded, Suspended};
    let world = World::new(store).await;
    let lease = world.lease().await;
    let mut runs = Vec::new();
    for turn in 0..12 {
        let run = world.accept(&["a"]).await;
        match turn % 4 {
            0 => {}
            1 => drop(world.cancel(run).await.unwrap()),
            2 => {
                let a = world.won(lease, run, "a").await;
                world.flip(lease, fail(&a)).await;
                world.store.finish_runs(CallId::generate(), &[run]).await.unwrap();
            }
            // It is to be cancelled, runs, and is shown once.
            _ => {
                world.won(lease, run, "a").await;
                world.store.request_cancel(&world.tenant, run).await.unwrap();
            }
        }
        runs.push(run);
    }
    let states = [Queued, Cancelled, Failed, Running];
    let workflow = Some(World::WORKFLOW.to_owned());
    for wanted in [
        vec![Failed, Cancelled],
        vec![Queued, Running, Failed],
        vec![Running, Cancelled],
        vec![Suspended, Cancelled],
        vec![Succeeded, Failed],
        vec![Queued, Running, Suspended, Succeeded, Failed, Cancelled, RunState::TimedOut],
    ] {
        let of = |turn: &usize| wanted.contains(&states[turn % 4]);
        let expected: Vec<_> = (0..12).rev().filter(of).map(|turn| runs[turn]).collect();
        for workflow in [None, workflow.clone()] {
            let filter = RunFilter { states: wanted.clone(), workflow, ..RunFilter::default() };
            for limit in [1, 2, 50] {
                let found = listed(&world, &filter, limit).await;
                assert_eq!(found, expected, "{filter:?} in pages of {limit}");
            }
        }
    }
}

/// All pages of a listing.
async fn listed(world: &World, filter: &RunFilter, limit: u32) -> Vec<RunId> {
    let mut found = Vec::new();
    let mut page = PageRequest { limit, cursor: None };
    loop {
        let read = world.store.list_runs(&world.tenant, filter, &page).await.unwrap();
        assert!(read.items.len() <= limit as usize);
        found.extend(read.items.iter().map(|run| run.id));
        page.cursor = read.next_cursor;
        if page.cursor.is_none() {
            return found;
        }
    }
}

/// By the trace that a run has, by one that it has left, and by one that several were started in; nobody else's.
pub async fn runs_are_found_by_their_trace(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let stranger = World::of(store, Identity::new("zoo", "main", "zoe")).await;
    let lease = world.lease().await;
    let shared = world.run_of(&[]).trace;
    let in_trace = |world: &World| NewRun { trace: shared.clone(), ..world.run_of(&["a"]) };
    let mine = [in_trace(&world), in_trace(&world), in_trace(&world)];
    world.store.accept_runs(&mine).await.unwrap();
    stranger.store.accept_runs(&[in_trace(&stranger)]).await.unwrap();
    world.accept(&["a"]).await;
    // One of them goes on in another trace.
    let moved = mine[1].id;
    let a = world.won(lease, moved, "a").await;
    let hour = WaitFor::Time(Duration::from_secs(3600));
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for: hour };
    world.flip(lease, ended(&a, waiting, None)).await;
    assert_eq!(world.store.suspend(&[moved]).await.unwrap(), 1);
    world.store.make_due(&[moved]).await.unwrap();
    let sweep = SweepOptions { trace_wait_max: Duration::ZERO, ..SWEEP };
    assert!(world.store.sweep(sweep).await.unwrap().has_closed);

    let filter = RunFilter { trace: Some(shared.trace), ..RunFilter::default() };
    let mut all: Vec<_> = mine.iter().map(|run| run.id).collect();
    all.sort();
    all.reverse();
    for limit in [1, 2, 50] {
        assert_eq!(listed(&world, &filter, limit).await, all, "in pages of {limit}");
    }
    let now = world.detail(moved).await.summary.trace.trace;
    assert_ne!(now, shared.trace);
    let by_now = RunFilter { trace: Some(now), ..RunFilter::default() };
    assert_eq!(listed(&world, &by_now, 50).await, [moved]);
    // With other filters.
    let running = RunFilter { states: vec![RunState::Running], ..filter.clone() };
    assert_eq!(listed(&world, &running, 50).await, [moved]);
    let other = RunFilter { workflow: Some("other".to_owned()), ..filter.clone() };
    assert_eq!(listed(&world, &other, 50).await, []);
    assert_eq!(listed(&stranger, &by_now, 50).await, []);
    assert_eq!(listed(&stranger, &filter, 50).await.len(), 1, "its own");
}

/// Filters are applied all together.
pub async fn runs_are_filtered(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let other = version("other", "{}");
    let other = world.store.publish_workflow(&world.tenant, &other).await.unwrap().id;
    let of_other =
        || NewRun { workflow: "other".into(), version_id: other, ..world.run_of(&["a"]) };
    let early = [world.run_of(&["a"]), of_other()];
    world.store.accept_runs(&early).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let late = [world.run_of(&["a"]), of_other()];
    world.store.accept_runs(&late).await.unwrap();
    let lease = world.lease().await;
    let a = world.won(lease, late[0].id, "a").await;
    world.flip(lease, ended(&a, AttemptOutcome::Deferred { delay: Duration::ZERO }, None)).await;
    world.cancel(early[1].id).await.unwrap();
    let middle = world.detail(late[0].id).await.summary.created_at;
    let list = |filter: RunFilter| {
        let world = world.clone();
        async move {
            let page = PageRequest { limit: 50, cursor: None };
            let read = world.store.list_runs(&world.tenant, &filter, &page).await.unwrap();
            let mut ids: Vec<_> = read.items.into_iter().map(|run| run.id).collect();
            ids.sort();
            ids
        }
    };
    let all = RunFilter::default();
    assert_eq!(list(all.clone()).await.len(), 4);
    let workflow = Some("other".to_owned());
    let mut others = vec![early[1].id, late[1].id];
    others.sort();
    assert_eq!(list(RunFilter { workflow: workflow.clone(), ..all.clone() }).await, others);
    let state = |state| RunFilter { states: vec![state], ..RunFilter::default() };
    assert_eq!(list(state(RunState::Running)).await, [late[0].id]);
    assert_eq!(list(state(RunState::Cancelled)).await, [early[1].id]);
    assert_eq!(list(state(RunState::Queued)).await.len(), 2);
    let before = RunFilter { created_before: Some(middle), ..all.clone() };
    assert_eq!(list(before).await.len(), 2);
    let after = RunFilter { created_after: Some(middle), workflow, ..all };
    assert_eq!(list(after).await, [late[1].id], "the boundary itself is within");
}

/// What is one among many is found by going on, and no page reads more than a part of them.
pub async fn a_listing_reads_a_part_at_a_time(store: Arc<dyn Store>) {
    const RUNS: usize = 4_100;
    const PARTS: usize = 3;
    let world = World::new(store).await;
    let lease = world.lease().await;
    let found = world.accept(&["a"]).await;
    world.won(lease, found, "a").await;
    let mut newer = Vec::new();
    while newer.len() < RUNS {
        newer.extend(world.accept_many(RUNS / 10, &["a"]).await);
    }
    let workflow = Some(World::WORKFLOW.to_owned());
    let earliest = Some(world.detail(found).await.summary.created_at);
    let running = RunFilter { states: vec![RunState::Running], ..RunFilter::default() };
    for filter in [
        running.clone(),
        RunFilter { workflow: workflow.clone(), ..running.clone() },
        RunFilter { workflow, created_after: earliest, ..running },
    ] {
        let mut page = PageRequest { limit: 2, cursor: None };
        for part in 1..=PARTS {
            let read = world.store.list_runs(&world.tenant, &filter, &page).await.unwrap();
            let ids: Vec<_> = read.items.iter().map(|run| run.id).collect();
            let expected = if part < PARTS { vec![] } else { vec![found] };
            assert_eq!(ids, expected, "part {part} of {filter:?}");
            assert_eq!(read.next_cursor.is_some(), part < PARTS, "part {part} of {filter:?}");
            page.cursor = read.next_cursor;
        }
    }
    // A page that finds enough reads no further, and none is left out on the way.
    let queued = RunFilter { states: vec![RunState::Queued], ..RunFilter::default() };
    let mut page = PageRequest { limit: 500, cursor: None };
    let mut listed = Vec::new();
    loop {
        let read = world.store.list_runs(&world.tenant, &queued, &page).await.unwrap();
        listed.extend(read.items.iter().map(|run| run.id));
        page.cursor = read.next_cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    newer.sort();
    newer.reverse();
    assert_eq!(listed, newer);
}
