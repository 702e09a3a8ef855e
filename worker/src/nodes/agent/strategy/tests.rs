//! Strategies as tables: what has happened, and what comes next.

use super::*;

fn task() -> Task {
    Task { goal: "win".to_owned(), system: Some("Be kind.".to_owned()), has_tools: true }
}

fn call(name: &str) -> ToolCall {
    ToolCall {
        id: format!("c-{name}"),
        name: name.to_owned(),
        arguments: "{}".to_owned(),
        signature: None,
    }
}

fn says(text: &str) -> Turn {
    Turn { text: text.to_owned(), ..Turn::default() }
}

fn calls(names: &[&str]) -> Turn {
    Turn { calls: names.iter().map(|name| call(name)).collect(), ..Turn::default() }
}

fn answered(mut turn: Turn, results: &[&str]) -> Turn {
    let result =
        |text: &&str| ToolResult { content: (*text).to_owned(), is_error: false, is_denied: false };
    turn.results = results.iter().map(result).collect();
    turn
}

/// What comes next, in a word, with the last message where the model is asked.
fn next(framework: Framework, turns: &[Turn]) -> (&'static str, String) {
    match of(framework).next(&task(), turns) {
        Next::Call => ("call", String::new()),
        Next::Done(answer) => ("done", answer),
        Next::Ask(prompt) => {
            assert!(prompt.system.starts_with("Be kind.\n\n"));
            let last = match prompt.messages.last().unwrap() {
                Message::User(text) => text.clone(),
                Message::Assistant { text, .. } => panic!("the model is asked after {text}"),
                Message::ToolResult { content, .. } => content.clone(),
            };
            assert_conversation(&prompt);
            (if prompt.with_tools { "ask" } else { "ask without tools" }, last)
        }
    }
}

/// What every provider asks of a conversation: the user begins, nothing is empty, and each call has its result.
fn assert_conversation(prompt: &Prompt) {
    assert!(matches!(prompt.messages[0], Message::User(_)));
    let mut open: Vec<String> = Vec::new();
    for message in &prompt.messages {
        match message {
            Message::ToolResult { call_id, .. } => {
                open.retain(|id| id != call_id);
            }
            Message::User(_) => assert_eq!(open, [] as [String; 0]),
            Message::Assistant { text, tool_calls } => {
                assert_eq!(open, [] as [String; 0]);
                assert!(!text.is_empty() || !tool_calls.is_empty());
                open.extend(tool_calls.iter().map(|call| call.id.clone()));
            }
        }
    }
    assert_eq!(open, [] as [String; 0]);
}

#[test]
fn react_acts_until_it_answers() {
    let react = |turns: &[Turn]| next(Framework::React, turns);
    assert_eq!(react(&[]), ("ask", "win".to_owned()));
    assert_eq!(react(&[calls(&["a", "b"])]).0, "call");
    assert_eq!(react(&[answered(calls(&["a", "b"]), &["1"])]).0, "call");
    let turns = [answered(calls(&["a", "b"]), &["1", "2"])];
    assert_eq!(react(&turns), ("ask", "2".to_owned()));
    let turns = [turns[0].clone(), says("three")];
    assert_eq!(react(&turns), ("done", "three".to_owned()));
    assert_eq!(react(&[says("")]), ("done", String::new()));
}

#[test]
fn agentgpt_works_off_its_tasks_and_reorders_them() {
    let agentgpt = |turns: &[Turn]| next(Framework::AgentGpt, turns);
    let mut turns = vec![];
    let mut expect = |turn: Option<Turn>, kind: &str, says: &str| {
        turns.extend(turn);
        let (next, text) = agentgpt(&turns);
        assert_eq!(next, kind, "{text}");
        assert!(text.contains(says), "{text}");
    };
    expect(None, "ask without tools", "Goal: win\n\nThe assistant has tools.");
    expect(Some(says("Sure:\n[\"look\", \"buy\"]")), "ask", "Task: look");
    expect(Some(calls(&["a"])), "call", "");
    turns.pop();
    let mut expect = |turn: Turn, kind: &str, says: &str| {
        turns.push(turn);
        let (next, text) = agentgpt(&turns);
        assert_eq!(next, kind, "{text}");
        assert!(text.contains(says), "{text}");
    };
    expect(answered(calls(&["a"]), &["seen"]), "ask", "seen");
    expect(
        says("found it"),
        "ask without tools",
        "1. look\n   Result: found it\n\nTasks left:\n1. buy",
    );
    expect(says("1. pay\n2. buy"), "ask", "Task: pay");
    expect(says("paid"), "ask without tools", "Tasks left:\n1. buy");
    // No list: the order stays.
    expect(says("I would keep it."), "ask", "Task: buy");
    expect(says("bought"), "ask without tools", "Tasks left:\nnone");
    expect(says("[]"), "ask without tools", "3. buy\n   Result: bought");
    expect(says("won"), "done", "won");
}

#[test]
fn agentgpt_comes_to_an_end_whatever_the_model_plans() {
    let mut turns = Vec::new();
    for asked in 0..200 {
        match of(Framework::AgentGpt).next(&task(), &turns) {
            Next::Done(_) => {
                assert!(asked < 60);
                return;
            }
            _ => turns.push(says("[\"more\", \"and more\"]")),
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn autogpt_plans_acts_and_criticizes_itself() {
    let autogpt = |turns: &[Turn]| next(Framework::AutoGpt, turns);
    assert_eq!(autogpt(&[]).0, "ask without tools");
    let mut turns = vec![says("the plan")];
    assert_eq!(
        autogpt(&turns),
        (
            "ask",
            "Now carry out your plan. Change it where what you find out asks for it.".to_owned()
        )
    );
    turns.push(calls(&["a"]));
    assert_eq!(autogpt(&turns).0, "call");
    turns[1] = answered(calls(&["a"]), &["seen"]);
    assert_eq!(autogpt(&turns), ("ask", "seen".to_owned()));
    for draft in ["one", "two", "three"] {
        turns.push(says(draft));
        let (kind, text) = autogpt(&turns);
        assert!(kind == "ask" && text.starts_with("Criticize"), "{text}");
    }
    turns.push(says("four"));
    assert_eq!(autogpt(&turns), ("done", "four".to_owned()));
    // Whatever it called instead of a plan is not called.
    assert_eq!(autogpt(&[calls(&["a"])]).0, "ask");
}

#[test]
fn lists_are_read_as_models_write_them() {
    for (text, expected) in [
        ("[\"a\", \"b\"]", Some(vec!["a", "b"])),
        ("Here:\n```json\n[\"a\"]\n```", Some(vec!["a"])),
        ("[{\"task\": \"a\"}, {\"id\": 2, \"task\": \"b\"}, 7]", Some(vec!["a", "b"])),
        ("1. a\n2) b\n", Some(vec!["a", "b"])),
        ("- a\n* b\n\n• c", Some(vec!["a", "b", "c"])),
        ("[]", Some(vec![])),
        ("[ no json ]", None),
        ("nothing", None),
        ("", None),
    ] {
        let expected: Option<Vec<String>> =
            expected.map(|list| list.into_iter().map(str::to_owned).collect());
        assert_eq!(list::of(text), expected, "{text}");
    }
    let many = format!("[{}]", vec!["\"x\""; 1_000].join(","));
    assert_eq!(list::of(&many).unwrap().len(), list::ENTRIES_MAX);
    assert!(list::of(&format!("- {}", "é".repeat(10_000))).unwrap()[0].len() < 2_000);
}
