//! Answers by a schema: taken, sent back once, and given up.

use super::*;

const SCHEMA: &str =
    r#"{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}"#;

pub(super) fn with_schema(script: impl IntoIterator<Item = Line>) -> Scene {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    scene(json!({"schema": schema}), script)
}

#[tokio::test]
async fn an_answer_by_a_schema_is_json_also_within_a_fence() {
    for text in
        ["{\"n\": 42}", " \n{\"n\":42} ", "```json\n{\"n\": 42}\n```", "```\n{\"n\": 42}```"]
    {
        let scene = with_schema([says(text)]);
        let output = scene.output().await;
        assert_eq!((&output["json"], &output["text"]), (&json!({"n": 42}), &json!(text)));
        assert!(scene.model.requests()[0].0.schema.is_some());
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_sent_back_once() {
    let scene = with_schema([says("{\"n\": \"secret\"}"), says("{\"n\": 42}")]);
    let output = scene.output().await;
    assert_eq!(output["json"], json!({"n": 42}));
    assert_eq!(output["usage"]["total_tokens"], 240);
    assert_eq!(output["cost_usd"], json!(2.0 * COST));
    let (request, _) = scene.model.requests().remove(1);
    let [Message::User(_), Message::Assistant { text, .. }, Message::User(repair)] =
        &request.messages[..]
    else {
        panic!("{:?}", request.messages)
    };
    assert_eq!(text, "{\"n\": \"secret\"}");
    assert!(repair.contains("- /n: "), "{repair}");
    assert_eq!(scene.journal.statuses(), [(1, 1, Succeeded), (2, 1, Succeeded)]);
    // A crash in the repair repeats the repair alone.
    let scene = with_schema([says("no JSON"), Line::Hang, says("{\"n\": 42}")]);
    scene.attempt_that_dies().await;
    assert_eq!(scene.output().await["json"], json!({"n": 42}));
    assert_eq!(scene.journal.statuses(), [(1, 1, Succeeded), (2, 1, Lost), (2, 2, Succeeded)]);
}

/// An integer that would be rounded, a name twice, more depth than an output may have with what is around it.
#[tokio::test]
async fn what_would_not_be_kept_as_the_model_wrote_it_is_sent_back() {
    let deep = |levels: usize| {
        format!("{{\"n\": 42, \"x\": {}{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    for text in
        ["{\"n\": 12345678901234567890123}", "{\"n\": 1, \"n\": 42}", &deep(JSON_DEPTH_MAX - 1)]
    {
        let scene = with_schema([says(text), says("{\"n\": 42}")]);
        assert_eq!(scene.output().await["json"], json!({"n": 42}), "{text}");
        let (request, _) = scene.model.requests().remove(1);
        let Some(Message::User(repair)) = request.messages.last() else { panic!("{request:?}") };
        assert!(repair.contains("- it is no JSON: ") && repair.contains("at line 1"), "{repair}");
    }
    let scene = with_schema([says(&deep(JSON_DEPTH_MAX - 2))]);
    assert!(nests_within(&scene.output().await, JSON_DEPTH_MAX));

    let called = |arguments: &str| {
        let arguments = arguments.to_owned();
        let (id, name) = ("call_a".to_owned(), "find".to_owned());
        let call = ToolCall { id, name, arguments, signature: None };
        Line::Reply(ChatReply { tool_calls: vec![call], ..reply("") })
    };
    let lists = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for kept in
        ["{\"n\": 12345678901234567890123}", "{\"n\": 1, \"n\": 2}", &lists(CALL_DEPTH_MAX + 1)]
    {
        let output = scene_that(called(kept)).output().await;
        assert_eq!(output["tool_calls"][0]["arguments"], kept, "as the text that it is");
    }
    let output = scene_that(called(&lists(CALL_DEPTH_MAX))).output().await;
    assert!(output["tool_calls"][0]["arguments"].is_array());
    assert!(nests_within(&output, JSON_DEPTH_MAX) && !nests_within(&output, JSON_DEPTH_MAX - 1));
}

fn scene_that(line: Line) -> Scene {
    scene(json!({}), [line])
}

#[tokio::test]
async fn an_answer_that_does_not_fit_twice_fails_the_node_and_is_shown() {
    let scene = with_schema([says("no JSON"), says("{\"n\": 4.5}")]);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("invalid_output", false));
    let details = failed.failure.details.unwrap();
    assert!(details.contains("/n") && details.ends_with("It is: {\"n\": 4.5}"), "{details}");
    // What is reported says nothing of it.
    assert_eq!(failed.failure.message, "the answer does not match the schema");
    assert_eq!(scene.model.calls(), 2);
    let long = "é".repeat(5_000);
    let scene = with_schema([says(&long), says(&long)]);
    let details = scene.failure().await.failure.details.unwrap();
    assert!(details.len() < 1_024 && details.ends_with("é…"), "{details}");
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_not_repaired() {
    let mut cut = reply("{\"n\": 4");
    cut.finish_reason = "length".to_owned();
    let scene = with_schema([Line::Reply(cut)]);
    let failed = scene.failure().await.failure;
    assert_eq!(&*failed.code, "output_cut_off");
    assert!(failed.message.contains("`max_tokens` (1000)"), "{}", failed.message);
    assert!(!failed.message.contains("\"n\""), "{}", failed.message);
    assert_eq!(failed.details.as_deref(), Some("It begins: {\"n\": 4"));
    assert_eq!(scene.model.calls(), 1);
}

#[tokio::test]
async fn a_schema_that_an_expression_yields_may_be_none() {
    let scene = scene(json!({"schema": {"type": "objekt"}}), []);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, scene.journal.writes()), ("invalid_params", 0));
}
