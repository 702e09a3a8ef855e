//! Calls to models and tools in the picture.

use super::*;
use crate::render::plan::Plan;
use crate::render::samples::{at, run, step, steps, waiting_run};

fn drawn(columns: usize) -> String {
    let terminal = Terminal { columns: Some(columns), ..Terminal::plain() };
    waterfall(&waiting_run(), &Plan::default(), &steps(), at(2000), &terminal)
}

#[test]
fn calls_hang_below_the_attempt_that_made_them() {
    let expected = "\
publish                        ▏
└ workflow.execute             ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒    2.00s
  └ agent research #1 waiting  ████████████████················    990ms
    ├ model gpt-4o-mini        ███████                             400ms  9,000 in 22 out  $0.001250
    ├ tool describe failed           ███                           100ms
    ├ model gpt-4o-mini                ████████                    460ms  9,000 in 22 out  $0.001250
    └ tool write_down pending                 ·················    1.01s
█ at work  ▒ not over, or lost  · waiting  ▏ accepted
";
    assert_eq!(drawn(100), expected);
}

#[test]
fn a_wide_terminal_shows_when_each_began_and_its_span() {
    let expected = "\
publish                        ▏                                                                   +0.0ms                                       c0c0c0c0c0c0c0c0
└ workflow.execute             ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒    +5.0ms    2.00s                              b0b0b0b0b0b0b0b0
  └ agent research #1 waiting  ████████████████████████████████································     +10ms    990ms                              d0d0d0d0d0d0d0d0
    ├ model gpt-4o-mini        ██████████████                                                       +15ms    400ms  9,000 in 22 out  $0.001250  1111111111111111
    ├ tool describe failed                  ████                                                   +420ms    100ms                              2222222222222222
    ├ model gpt-4o-mini                        ████████████████                                    +525ms    460ms  9,000 in 22 out  $0.001250  3333333333333333
    └ tool write_down pending                                 ·································    +990ms    1.01s                              4444444444444444
█ at work  ▒ not over, or lost  · waiting  ▏ accepted
";
    assert_eq!(drawn(160), expected);
}

#[test]
fn a_narrow_terminal_keeps_names_and_what_became_of_calls() {
    let expected = "\
publish                   ▏
└ execute                 ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒    2.00s
  └ research #1 waiting   ████████·······    990ms
    ├ gpt-4o-mini         ████               400ms
    ├ describe failed        █               100ms
    ├ gpt-4o-mini            █████           460ms
    └ write_down pending         ········    1.01s
█ at work  ▒ not over, or lost  · waiting
▏ accepted
";
    assert_eq!(drawn(50), expected);
    for columns in [10, 20, 30, 50, 80, 100, 160] {
        let text = drawn(columns);
        assert!(text.lines().all(|line| width_of(line) <= columns), "{columns}: {text}");
    }
    let mut long = steps();
    long[1].name = "a_tool_that_has_a_name_of_many_words".to_owned();
    let terminal = Terminal { columns: Some(50), ..Terminal::plain() };
    let text = waterfall(&waiting_run(), &Plan::default(), &long, at(2000), &terminal);
    assert!(text.contains("├ a_tool_that_h… failed"), "{text}");
}

#[test]
fn what_is_piped_is_complete_and_has_no_colours() {
    let text = waterfall(&waiting_run(), &Plan::default(), &steps(), at(2000), &Terminal::plain());
    assert!(!text.contains('\x1b'), "{text}");
    let call = text.lines().find(|line| line.contains("model gpt-4o-mini")).unwrap();
    assert!(call.ends_with("  400ms  9,000 in 22 out  $0.001250  1111111111111111"), "{call}");
    let colourful = Terminal { colour: true, ..Terminal::plain() };
    let painted = waterfall(&waiting_run(), &Plan::default(), &steps(), at(2000), &colourful);
    assert!(painted.contains("\x1b[31m failed\x1b[0m"), "{painted}");
}

#[test]
fn what_went_wrong_is_said_and_a_price_that_nobody_knows_is_not_nothing() {
    let mut calls = steps();
    calls[0].cost_usd = None;
    (calls[1].status, calls[1].attempt) = ("refused".to_owned(), 2);
    (calls[2].status, calls[2].latency_ms, calls[2].usage) = ("lost".to_owned(), None, None);
    calls[3].status = "denied".to_owned();
    let text = waterfall(&waiting_run(), &Plan::default(), &calls, at(2000), &Terminal::plain());
    let lines: Vec<_> = text.lines().skip(3).collect();
    assert!(lines[0].contains("9,000 in 22 out   no price"), "{text}");
    assert!(lines[1].contains("├ tool describe #2 refused "), "{text}");
    assert!(!lines[1].contains('$') && !lines[1].contains("no price"), "{text}");
    // It was lost when its attempt was over.
    assert!(lines[2].contains("├ model gpt-4o-mini lost ") && lines[2].contains('▒'), "{text}");
    assert!(lines[2].contains("  475ms ") && lines[2].contains("$0.001250"), "{text}");
    assert!(lines[3].contains("└ tool write_down denied ") && lines[3].contains('·'), "{text}");
}

#[test]
fn an_agent_with_very_many_calls_shows_how_it_began_and_how_it_ended() {
    let call = |index: u32| {
        let status = if index.is_multiple_of(50) { "failed" } else { "succeeded" };
        let start = 15 + i64::from(index) * 4;
        step(index, ("tool", &format!("call{index}")), status, start, start + 3)
    };
    let calls: Vec<_> = (1..=200).map(call).collect();
    let text = waterfall(&waiting_run(), &Plan::default(), &calls, at(2000), &Terminal::plain());
    // The run, its publishing, the attempt of its node and the legend; what is left out takes one line.
    assert_eq!(text.lines().count(), 4 + 21, "{text}");
    assert!(text.contains("\n    ├ … 180 more, 3 failed (listed among the steps)\n"), "{text}");
    for (index, is_shown) in [(1, true), (12, true), (13, false), (192, false), (193, true)] {
        assert_eq!(text.contains(&format!(" call{index} ")), is_shown, "{index}: {text}");
    }
    assert!(text.contains("└ tool call200 failed "), "{text}");
    // One more than there is room for is left out with another one.
    let text =
        waterfall(&waiting_run(), &Plan::default(), &calls[..21], at(2000), &Terminal::plain());
    assert!(text.contains("… 1 more (") && !text.contains(" call13 "), "{text}");
    let text =
        waterfall(&waiting_run(), &Plan::default(), &calls[..20], at(2000), &Terminal::plain());
    assert!(!text.contains('…') && text.contains(" call13 "), "{text}");
}

#[test]
fn names_that_models_and_tools_were_given_cannot_drive_the_terminal() {
    let mut calls = steps();
    calls[1].name = "a\x1b[2Jb\r\n\u{202e}c\u{9b}31m".to_owned();
    calls[1].status = "odd\x07".to_owned();
    calls[2].kind = "mo\x1bdel".to_owned();
    let text = waterfall(&waiting_run(), &Plan::default(), &calls, at(2000), &Terminal::plain());
    let is_harmless = |char: char| char == '\n' || !skein_shared::domain::text::is_active(char);
    assert!(text.chars().all(is_harmless), "{text:?}");
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.contains("tool a [2Jb   c 31m odd "), "{text}");
}

#[test]
fn calls_of_another_repetition_or_of_no_node_are_drawn_nowhere_else() {
    let mut calls = steps();
    calls[0].scope = "3".to_owned();
    calls[1].node = "nowhere".to_owned();
    let text = waterfall(&waiting_run(), &Plan::default(), &calls, at(2000), &Terminal::plain());
    assert_eq!(text.lines().count(), 4 + 2, "{text}");
    // What is known of a run without calls looks the same, whatever else was read.
    let bare = waterfall(&run(), &Plan::default(), &[], at(9000), &Terminal::plain());
    assert!(!bare.contains(" in ") && bare.contains("e2e2e2e2e2e2e2e2"), "{bare}");
}

#[test]
fn a_bar_ends_with_its_attempt_whatever_a_server_says() {
    let mut calls = steps();
    calls[0].latency_ms = Some(u64::MAX);
    calls[2].latency_ms = Some(86_400_000);
    let text = waterfall(&waiting_run(), &Plan::default(), &calls, at(2000), &Terminal::plain());
    let execute = text.lines().nth(1).unwrap();
    assert!(execute.contains("2.00s"), "{text}");
    assert!(text.lines().nth(5).unwrap().contains(" 1d00h"), "{text}");
}
