//! What is listed of steps, and what costs are summed up to.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::step::StepStatus;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::usage::Usage;
use skein_shared::store::spending::{CostFilter, CostGrouping};
use skein_shared::store::steps::{Begun, Charge, StepAnswer, StepIntent, StepResult, StepWrite};
use skein_shared::store::{PageRequest, Store};

use super::steps::{begin, finish, model, result, tool, write};
use super::world::World;

/// Page by page, in the order of their beginning, with what they belong to.
pub async fn steps_of_a_run_are_listed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a", "b"]).await;
    let page = |cursor| PageRequest { limit: 2, cursor };
    let listed = world.store.list_steps(&world.tenant, run, &page(None)).await.unwrap().unwrap();
    assert!(listed.items.is_empty() && listed.next_cursor.is_none());
    let (a, b) = (world.won(lease, run, "a").await, world.won(lease, run, "b").await);
    for (claimed, seq) in [(&a, 1), (&b, 1), (&a, 2), (&b, 2), (&a, 3)] {
        world.started(lease, begin(claimed, tool(seq))).await;
    }
    let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let listed =
            world.store.list_steps(&world.tenant, run, &page(cursor)).await.unwrap().unwrap();
        found.extend(listed.items);
        pages += 1;
        cursor = listed.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let keys: Vec<_> = found.iter().map(|row| (row.node.as_str(), row.step.seq)).collect();
    assert_eq!((pages, &keys[..]), (3, &[("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)][..]));
    assert_eq!(found[0].trace, a.run.trace.trace);
    for stranger in [Identity::new("umbrella", "main", "eve"), Identity::new("acme", "side", "ann")]
    {
        assert_eq!(world.store.list_steps(&stranger, run, &page(None)).await.unwrap(), None);
    }
    // Few that are large fill a page as well.
    let large =
        |seq| StepIntent { arguments: Some(format!("\"{}\"", "x".repeat(250_000))), ..tool(seq) };
    for seq in 4..24 {
        world.started(lease, begin(&a, large(seq))).await;
    }
    let page = PageRequest { limit: 500, cursor: None };
    let listed = world.store.list_steps(&world.tenant, run, &page).await.unwrap().unwrap();
    assert!(listed.next_cursor.is_some() && listed.items.len() < 25, "{}", listed.items.len());
    let page = PageRequest { cursor: listed.next_cursor, ..page };
    let rest = world.store.list_steps(&world.tenant, run, &page).await.unwrap().unwrap();
    assert_eq!((listed.items.len() + rest.items.len(), rest.next_cursor), (25, None));
}

/// When the id of a run was made, to the millisecond.
fn accepted_at(run: RunId) -> DateTime<Utc> {
    let (seconds, nanos) = run.0.get_timestamp().unwrap().to_unix();
    DateTime::from_timestamp(seconds.try_into().unwrap(), nanos).unwrap()
}

/// By whatever they are grouped by and filtered, page by page, of one workspace.
pub async fn costs_are_summed_up(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let stranger = World::of(Arc::clone(&world.store), Identity::new("acme", "side", "joe")).await;
    let mut runs = Vec::new();
    let mut work = Vec::new();
    for (world, taken) in [(&world, 10), (&world, 20), (&stranger, 40)] {
        work.push((world, taken, world.at_work().await));
    }
    // What the first run costs, it costs after the others were accepted.
    for (world, taken, (lease, a)) in work {
        for seq in 1..=2 {
            world.started(lease, begin(&a, model(seq, 100))).await;
            world.written(lease, finish(&a, result(seq, taken))).await;
        }
        world.started(lease, begin(&a, tool(3))).await;
        runs.push(a.key.run);
    }
    let all = PageRequest { limit: 10, cursor: None };
    let list = async |grouping, filter: CostFilter, page: &PageRequest| {
        world.store.list_costs(&world.tenant, grouping, &filter, page).await.unwrap()
    };
    let today = Utc::now().format("%Y-%m-%d").to_string();
    for (grouping, key) in [
        (CostGrouping::Model, "large"),
        (CostGrouping::Provider, "acme-ai"),
        (CostGrouping::Workflow, World::WORKFLOW),
        (CostGrouping::Node, "digest/a"),
        (CostGrouping::User, "ann"),
        (CostGrouping::Day, &*today),
    ] {
        let found = list(grouping, CostFilter::default(), &all).await;
        let [group] = &found.items[..] else { panic!("{found:?}") };
        assert_eq!((&*group.key, group.spending.cost), (key, NanoDollars(60_000)));
        assert_eq!((group.spending.calls, group.spending.steps), (4, 4));
        assert_eq!(found.next_cursor, None);
    }
    let mut expected = [runs[0].to_string(), runs[1].to_string()];
    expected.sort();
    let now = Utc::now();
    let hour = TimeDelta::hours(1);
    // The latest first, whether they were accepted in the time that is asked for, or before, or one of each.
    let between = accepted_at(runs[1]);
    let accepted =
        [None, Some(now - hour), Some(between), Some(between + TimeDelta::milliseconds(1))];
    for from in accepted {
        let filter = CostFilter { from, ..CostFilter::default() };
        let one = PageRequest { limit: 1, cursor: None };
        let first = list(CostGrouping::Run, filter.clone(), &one).await;
        let second = PageRequest { cursor: first.next_cursor.clone(), ..one };
        let second = list(CostGrouping::Run, filter.clone(), &second).await;
        assert_eq!([&first.items[0].key, &second.items[0].key], [&expected[1], &expected[0]]);
        assert_eq!((second.items.len(), second.next_cursor), (1, None));
        let both = list(CostGrouping::Run, filter, &all).await;
        assert_eq!((both.items.len(), both.next_cursor), (2, None));
        assert_eq!(both.items[0], first.items[0]);
    }
    for (filter, cost) in [
        (CostFilter { run: Some(runs[1]), ..CostFilter::default() }, Some(40_000)),
        (CostFilter { run: Some(runs[2]), ..CostFilter::default() }, None),
        (CostFilter { workflow: Some("other".to_owned()), ..CostFilter::default() }, None),
        (
            CostFilter { from: Some(now - hour), to: Some(now + hour), ..CostFilter::default() },
            Some(60_000),
        ),
        (CostFilter { from: Some(now + hour), ..CostFilter::default() }, None),
        (CostFilter { to: Some(now - hour), ..CostFilter::default() }, None),
    ] {
        let found = list(CostGrouping::Model, filter.clone(), &all).await;
        let found = found.items.first().map(|group| group.spending.cost.0);
        assert_eq!(found, cost, "{filter:?}");
    }
}

/// However much is said to have been spent, it is shown: as the largest number where it is more.
pub async fn sums_of_costs_end_at_the_largest_number(store: Arc<dyn Store>) {
    /// Calls of each run. Of what one may cost at most, 1,024 are the largest number.
    const CALLS: u32 = 17;
    let world = World::new(store).await;
    let lease = world.lease().await;
    let mut claimed = Vec::new();
    for run in world.accept_many(64, &["a"]).await {
        claimed.push(world.won(lease, run, "a").await);
    }
    let most = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
    for seq in 1..=CALLS + 1 {
        let charge = Charge::Counted(most);
        let finished = (seq > 1).then(|| StepResult { charge, ..result(seq - 1, 0) });
        let write = |a| {
            let next = if seq > CALLS { write(a) } else { begin(a, model(seq, 1)) };
            StepWrite { finished: finished.clone(), ..next }
        };
        let batch: Vec<_> = claimed.iter().map(write).collect();
        world.store.write_steps(lease, &batch).await.unwrap();
    }
    let page = PageRequest { limit: 10, cursor: None };
    for (grouping, calls) in [(CostGrouping::Model, 64 * 17), (CostGrouping::Run, 17)] {
        let filter = CostFilter::default();
        let costs = world.store.list_costs(&world.tenant, grouping, &filter, &page);
        let spending = costs.await.unwrap().items.remove(0).spending;
        assert_eq!(spending.calls, calls);
        let tokens = spending.usage.input_tokens;
        let largest = i64::MAX.unsigned_abs();
        // What is less than the largest number is exact.
        let expected = if calls > 1_024 { largest } else { (largest >> 10) * calls };
        assert_eq!((spending.cost.0.unsigned_abs(), tokens), (expected, expected));
    }
}

/// The sums over the rows of the steps, the rows of the costs and the totals are the same, whatever happens to calls.
pub async fn all_sums_are_the_same(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (first, a) = world.at_work().await;
    let run = a.key.run;
    world.started(first, begin(&a, model(1, 33))).await;
    world.written(first, finish(&a, result(1, 31))).await;
    world.started(first, begin(&a, model(2, 33))).await;
    world.store.close_lease(first, std::slice::from_ref(&a.key)).await.unwrap();
    let lease = world.lease().await;
    world.sweep(run).await;
    let again = world.won(lease, run, "a").await;
    let (attempt, lost) = world.started(lease, begin(&again, model(2, 33))).await;
    assert_eq!((attempt, lost.len()), (2, 1));
    let failed = StepResult {
        attempt: 2,
        status: StepStatus::Failed,
        charge: Charge::Reserved,
        ..result(2, 0)
    };
    world.written(lease, finish(&again, failed)).await;
    let steps: NanoDollars = world.journal(&a.key).await.iter().filter_map(|step| step.cost).sum();
    let spent = world.spent(run).await;
    let filter = CostFilter { run: Some(run), ..CostFilter::default() };
    let page = PageRequest { limit: 10, cursor: None };
    let costs = world.store.list_costs(&world.tenant, CostGrouping::Run, &filter, &page);
    let costs = costs.await.unwrap().items.remove(0).spending;
    assert_eq!((costs, spent.cost), (spent, steps));
    assert_eq!((spent.calls, spent.steps, steps), (3, 2, NanoDollars(31_000 + 2 * 43_000)));
    assert!(matches!(world.write(lease, write(&again)).await, StepAnswer::Written(Begun::Nothing)));
}
