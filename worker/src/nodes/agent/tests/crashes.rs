//! An agent whose worker dies, wherever that may be.

use skein_shared::domain::kind::OnUncertain;
use skein_shared::domain::step::StepStatus::{Lost, Started, Succeeded};

use super::*;

fn lines() -> [ChatReply; 3] {
    [
        calls(&[("look", r#"{"q":"a"}"#), ("look", r#"{"q":"b"}"#)]),
        calls(&[("look", r#"{"q":"c"}"#)]),
        says("done"),
    ]
}

#[tokio::test]
async fn wherever_it_dies_what_is_recorded_is_not_done_again() {
    let undisturbed = Scene::new(json!({}), lines()).await;
    let expected = undisturbed.output().await;
    let writes = undisturbed.journal.writes();
    assert!(writes > 8, "{writes}");
    for taken in 0..writes {
        let scene = Scene::new(json!({}), lines()).await;
        scene.journal.fence_after(taken);
        assert_eq!(scene.failure().await, ("journal".to_owned(), true), "after {taken} writes");
        scene.journal.unfence();
        let done = scene.journal.steps().iter().filter(|step| step.status == Succeeded).count();
        let (asked, called) = (scene.model.asked.lock().unwrap().len(), scene.requests().len());
        let output = scene.output().await;
        for field in ["answer", "iterations", "steps", "stopped_by"] {
            assert_eq!(output[field], expected[field], "after {taken} writes");
        }
        // Six steps in all. What was recorded as done was not done again; what was under way, once.
        let more =
            scene.model.asked.lock().unwrap().len() - asked + scene.requests().len() - called;
        assert_eq!(more, 6 - done, "after {taken} writes");
        let all = scene.journal.steps();
        assert!(all.iter().all(|step| matches!(step.status, Succeeded | Lost)));
        assert!(all.iter().filter(|step| step.status == Lost).count() <= 1);
        let keys: std::collections::BTreeSet<_> =
            scene.server.seen().iter().map(|seen| seen.uri.clone()).collect();
        assert_eq!(keys.len(), 3);
    }
}

/// An agent that has died while a call was under way that must not be repeated.
async fn in_the_middle_of_an_order(on_uncertain: OnUncertain) -> Scene {
    let lines = [calls(&[("order", r#"{"q":"b"}"#)]), says("done")];
    let mut scene = Scene::new(json!({}), lines).await;
    scene.context.on_uncertain = on_uncertain;
    // The model's call begins and ends, and the order begins.
    scene.journal.fence_after(3);
    assert_eq!(scene.failure().await.0, "journal");
    scene.journal.unfence();
    assert_eq!(scene.journal.statuses(), [(1, 1, Succeeded), (2, 1, Started)]);
    assert_eq!(scene.requests(), ["POST /order/b"]);
    scene
}

#[tokio::test]
async fn a_call_that_must_not_be_repeated_is_not() {
    let scene = in_the_middle_of_an_order(OnUncertain::Fail).await;
    assert_eq!(scene.failure().await, ("uncertain".to_owned(), false));
    // The same once it is settled.
    scene.journal.set_status(2, Lost);
    assert_eq!(scene.failure().await, ("uncertain".to_owned(), false));
    assert_eq!(scene.requests(), ["POST /order/b"]);
    assert_eq!(scene.model.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_that_must_not_be_repeated_is_if_the_node_says_so() {
    let scene = in_the_middle_of_an_order(OnUncertain::Retry).await;
    assert_eq!(scene.output().await["answer"], "done");
    assert_eq!(scene.requests(), ["POST /order/b", "POST /order/b"]);
    let statuses = [(1, 1, Succeeded), (2, 1, Lost), (2, 2, Succeeded), (3, 1, Succeeded)];
    assert_eq!(scene.journal.statuses(), statuses);
}

#[tokio::test]
async fn what_is_recorded_of_another_agent_is_not_gone_on_with() {
    let lines = [calls(&[("look", r#"{"q":"a"}"#)]), says("done")];
    let mut scene = Scene::new(json!({}), lines).await;
    scene.journal.fence_after(4);
    assert_eq!(scene.failure().await.0, "journal");
    scene.journal.unfence();
    // As if the tool had been called something else.
    scene.params["tools"][0]["http"]["name"] = json!("see");
    assert_eq!(scene.failure().await, ("internal".to_owned(), false));
    assert_eq!(scene.requests(), ["GET /look/a"]);
}
