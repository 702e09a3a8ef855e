//! Calls that have to wait: for a provider's time, its turn, or a budget.

use super::*;

#[tokio::test]
async fn a_provider_that_asks_to_wait_is_asked_again_in_the_same_step() {
    let mut scene = scene(json!({}), [refuses(Some(7)), refuses(None), says("42")]);
    let WaitFor::Rate { provider, step, starts_in } = scene.wait().await else { panic!() };
    assert_eq!((&*provider, step), ("openai", 1));
    assert!((7.0..7.5).contains(&starts_in.as_secs_f64()), "{starts_in:?}");
    let wait = WaitFor::Rate { provider, step, starts_in };
    scene.waited(&wait);
    let WaitFor::Rate { starts_in, .. } = scene.wait().await else { panic!() };
    assert!((1.0..=2.0).contains(&starts_in.as_secs_f64()), "{starts_in:?}");
    assert_eq!(scene.output().await["cost_usd"], json!(COST));
    assert_eq!(scene.journal.statuses(), [(1, 1, Refused), (1, 2, Refused), (1, 3, Succeeded)]);
    assert_eq!(scene.journal.events(), ["llm.failed", "llm.failed", "llm.called"]);
}

#[tokio::test]
async fn a_wait_beyond_the_time_of_the_node_fails_it() {
    let scene = scene(json!({}), [refuses(Some(601))]);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("rate_limited", true));
    assert_eq!(failed.retry_after, Some(Duration::from_secs(601)));
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed)]);
    // The time counts from the first refusal on.
    let mut scene = self::scene(json!({}), [refuses(Some(400)), refuses(Some(400))]);
    scene.wait().await;
    scene.context.now += chrono::TimeDelta::seconds(401);
    assert_eq!(&*scene.failure().await.failure.code, "rate_limited");
    assert_eq!(scene.journal.statuses(), [(1, 1, Refused), (1, 2, Failed)]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_soon_is_slept_for_and_a_later_one_is_a_wait() {
    let mut scene = scene(json!({}), [says("1"), says("2")]);
    let limited = Provider { requests_per_minute: Some(60), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    scene.journal.grant([Some(Duration::from_millis(200)), Some(Duration::from_secs(9)), None]);
    let begun = tokio::time::Instant::now();
    assert_eq!(scene.output().await["text"], "1");
    assert_eq!(begun.elapsed(), Duration::from_millis(200));
    let asked = scene.journal.asked_starts().remove(0);
    assert_eq!((&*asked.provider, asked.tokens), ("openai", 2_000));

    scene.journal = FakeJournal::default();
    scene.journal.grant([Some(Duration::from_secs(9))]);
    let wait = scene.wait().await;
    let starts_in = Duration::from_secs(9);
    assert_eq!(wait, WaitFor::Rate { provider: "openai".into(), step: 1, starts_in });
    assert_eq!(scene.model.calls(), 1);
    // Its turn was granted, and is not asked for again.
    scene.waited(&wait);
    assert_eq!(scene.output().await["text"], "2");
    assert_eq!(scene.journal.asked_starts().len(), 1);

    scene.journal = FakeJournal::default();
    scene.journal.grant([None]);
    scene.context.waited_for = None;
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("rate_limited", true));
}

#[tokio::test]
async fn a_refusal_of_a_provider_with_rates_waits_for_a_turn_as_well() {
    let mut scene = scene(json!({}), [refuses(Some(3))]);
    let limited = Provider { tokens_per_minute: Some(1_000), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    scene.journal.grant([Some(Duration::ZERO), Some(Duration::from_secs(60))]);
    let WaitFor::Rate { starts_in, .. } = scene.wait().await else { panic!() };
    assert_eq!(starts_in, Duration::from_secs(60));
}

#[tokio::test]
async fn what_others_have_reserved_is_waited_for_and_looked_at_more_and_more_seldom() {
    let mut scene = scene(json!({}), [says("42")]);
    for (looks, seconds) in [(0, 2.0), (1, 4.0), (2, 8.0), (3, 15.0), (4, 15.0)] {
        scene.journal.answer([Some(Begun::Contended)]);
        let wait = scene.wait().await;
        let WaitFor::Budget { exhausted: None, looks: found, retry_in: Some(retry_in), turn: None } =
            wait
        else {
            panic!("{wait:?}")
        };
        assert_eq!(found, looks);
        assert!((seconds / 2.0..=seconds).contains(&retry_in.as_secs_f64()), "{retry_in:?}");
        scene.waited(&wait);
    }
    assert_eq!(scene.output().await["text"], "42");
}

#[tokio::test]
async fn who_has_no_room_in_its_budget_takes_no_turn_at_a_provider() {
    let mut scene = scene(json!({}), [says("42")]);
    let limited = Provider { requests_per_minute: Some(60), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    let spent = || Begun::Exhausted(exhausted(BudgetPeriod::Day), OnExhausted::Suspend);
    scene.journal.say_of_room([Begun::Contended, spent(), Begun::Contended, Begun::PriceUnknown]);
    for _ in 0..3 {
        let wait = scene.wait().await;
        assert!(matches!(wait, WaitFor::Budget { turn: None, .. }), "{wait:?}");
        scene.waited(&wait);
    }
    assert_eq!(&*scene.failure().await.failure.code, "price_unknown");
    assert!(scene.journal.asked_starts().is_empty() && scene.journal.steps().is_empty());
    assert_eq!(scene.output().await["text"], "42");
    assert_eq!(scene.journal.asked_starts().len(), 1);
}

#[tokio::test]
async fn a_turn_is_kept_while_what_others_have_reserved_is_waited_for() {
    let mut scene = scene(json!({}), [says("42")]);
    let limited = Provider { requests_per_minute: Some(60), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    scene.journal.grant([Some(Duration::from_secs(9))]);
    let wait = scene.wait().await;
    scene.waited(&wait);
    // Others have taken the room meanwhile.
    for looks in 0..2 {
        scene.journal.answer([Some(Begun::Contended)]);
        let WaitFor::Budget { looks: found, turn, .. } = scene.wait().await else { panic!() };
        assert_eq!((found, turn.clone()), (looks, Some(("openai".into(), 1))));
        let wait = WaitFor::Budget { exhausted: None, looks, retry_in: None, turn };
        scene.waited(&wait);
    }
    assert_eq!(scene.output().await["text"], "42");
    assert_eq!(scene.journal.asked_starts().len(), 1);
}

fn exhausted(period: BudgetPeriod) -> Exhausted {
    let resource = Resource::Usd;
    Exhausted { period, resource, limit: 1_000, spent: 900, needed: 200, renews_at: None }
}

#[tokio::test]
async fn an_exhausted_budget_is_waited_for_until_it_is_raised() {
    let mut scene = scene(json!({}), [says("42")]);
    scene.journal.answer([
        Some(Begun::Exhausted(exhausted(BudgetPeriod::Run), OnExhausted::Suspend)),
        Some(Begun::Exhausted(exhausted(BudgetPeriod::Run), OnExhausted::Suspend)),
        Some(Begun::Exhausted(exhausted(BudgetPeriod::Day), OnExhausted::Suspend)),
    ]);
    let wait = scene.wait().await;
    let WaitFor::Budget { exhausted: found, looks: 0, retry_in: Some(retry_in), turn: None } =
        &wait
    else {
        panic!("{wait:?}")
    };
    assert_eq!(*found, Some(exhausted(BudgetPeriod::Run)));
    assert!((30.0..=60.0).contains(&retry_in.as_secs_f64()));
    assert_eq!(scene.journal.events(), ["budget.exhausted"]);
    // The same again is not worth a second row.
    scene.waited(&wait);
    scene.wait().await;
    assert_eq!(scene.journal.events(), ["budget.exhausted"]);
    let WaitFor::Budget { retry_in: Some(retry_in), .. } = scene.wait().await else { panic!() };
    assert!((30.0..=60.0).contains(&retry_in.as_secs_f64()));
    assert_eq!(scene.journal.events(), ["budget.exhausted", "budget.exhausted"]);
    assert_eq!((scene.output().await["text"].clone(), scene.model.calls()), (json!("42"), 1));
}

/// A month of waiting is hundreds of attempts and not tens of thousands: whoever raises the budget wakes it.
#[tokio::test]
async fn a_budget_of_an_organization_is_looked_at_more_and_more_seldom_and_when_it_begins_anew() {
    let mut scene = scene(json!({}), []);
    let of_month = exhausted(BudgetPeriod::Month);
    let refused = |facts| Some(Begun::Exhausted(facts, OnExhausted::Suspend));
    let (mut waited, mut attempts) = (Duration::ZERO, 0);
    while waited < Duration::from_secs(31 * 86_400) {
        scene.journal.answer([refused(of_month)]);
        let wait = scene.wait().await;
        waited += wait.due_in().unwrap();
        attempts += 1;
        scene.waited(&wait);
    }
    assert!((700..1_600).contains(&attempts), "{attempts}");
    assert_eq!(scene.journal.events(), ["budget.exhausted"]);
    let soon = Some(scene.context.now + chrono::TimeDelta::seconds(90));
    scene.journal.answer([refused(Exhausted { renews_at: soon, ..of_month })]);
    let due_in = scene.wait().await.due_in().unwrap().as_secs_f64();
    assert!((80.0..=90.0).contains(&due_in), "{due_in}");
    // Another limit is another wait.
    scene.journal.answer([refused(Exhausted { limit: 1_100, ..of_month })]);
    assert!(scene.wait().await.due_in().unwrap() <= Duration::from_secs(60));
    assert_eq!(scene.journal.events(), ["budget.exhausted", "budget.exhausted"]);
}
