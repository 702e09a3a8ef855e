//! The examples do what they say.

use std::fs;

use serde_json::json;
use skein_tests::stack::{KEY, Setup, with_stack, workspace};

use crate::shell;
use crate::shown::Shown;

/// What an example says of a command whose run is to fail, before the code of the error.
const FAILS: &str = "fails with ";
/// What an example says of a command that is to be refused.
const REFUSED: &str = "the schema says what is wrong";

/// The ids of a document's nodes, as the examples are written.
pub(crate) fn nodes_of(document: &str) -> Vec<String> {
    let ids = document.lines().filter_map(|line| line.trim().strip_prefix("- id: "));
    ids.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_of_an_example_does_what_it_says() {
    with_stack(Setup::embedded("examples"), async |stack| {
        let mut count = 0;
        for file in fs::read_dir(workspace().join("examples")).expect("there are examples") {
            let path = file.expect("a file").path();
            // Those that ask models are run by the suite of the command line.
            if path.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            let (document, nodes) = (path.file_stem().expect("a name"), nodes_of(&text));
            let document = document.to_str().expect("text");
            let commands: Vec<_> =
                text.lines().filter_map(|line| line.strip_prefix("#   skein ")).collect();
            assert!(!commands.is_empty(), "{document} does not say how it is run");
            for line in commands {
                count += 1;
                let (command, remark) = shell::remark(line);
                let words = shell::words(command, |_| String::new());
                let command: Vec<_> =
                    std::iter::once("skein").chain(words.iter().map(String::as_str)).collect();
                let mut skein = stack.program(&format!("example-{count}"), &command);
                skein.set("SKEIN_KEY", KEY);
                skein.start();
                let code = skein.ended().await.code();
                let shown = skein.log();
                if remark == REFUSED {
                    assert_eq!(code, Some(1), "{line}: {shown}");
                    assert!(shown.contains("does not match the workflow's schema"), "{shown}");
                    continue;
                }
                if let Some(word) = remark.strip_prefix(FAILS) {
                    assert_ne!(code, Some(0), "{line}: {shown}");
                    let run = stack.client.find(Shown(&shown).run()).await.expect("it is there");
                    assert_eq!((run.status(), &run.0["error"]["code"]), ("failed", &json!(word)));
                    assert!(shown.contains(word), "{shown}");
                    continue;
                }
                assert_eq!(code, Some(0), "{line}: {shown}");
                Shown(&shown).assert_whole(document, &nodes);
                let run = stack.client.find(Shown(&shown).run()).await.expect("the API has it");
                assert_eq!(run.status(), "succeeded");
                if remark == "takes the other branch" {
                    assert_eq!(run.node("complaint")["status"], "succeeded", "{:#}", run.0);
                    assert_eq!(run.node("praise")["status"], "skipped", "{:#}", run.0);
                }
            }
        }
        assert!(count >= 5, "only {count} commands found");
    })
    .await;
}
