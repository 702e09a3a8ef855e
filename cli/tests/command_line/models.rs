//! The examples that ask models, answered by the script beside them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::dev;
use super::server::PATIENCE;
use super::skein::TestDirectory;

/// A file of the examples.
fn example(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/models");
    folder.join(name).to_str().expect("text").to_owned()
}

#[test]
fn examples_that_ask_a_model_run_without_an_account() {
    let temp = TestDirectory::new("models");
    for (document, shows) in
        [("summarise.yaml", "Two birds stayed"), ("extract.yaml", "Oak & Ash Ltd")]
    {
        let args = ["run", &example(document), "--mock-models", &example("replies.yaml")];
        let ended = temp.skein(&args).output().expect("skein can be started");
        let (shown, stderr) =
            (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(0), "{document}: {shown}{stderr}");
        assert!(shown.contains(shows), "{document}: {shown}");
        // Nobody takes it for an answer of the model.
        assert!(shown.contains("provider=mock") && shown.contains("cost_usd="), "{shown}");
    }
}

#[test]
fn an_agent_waits_for_a_decision_that_a_person_takes() {
    let temp = TestDirectory::new("decision");
    let (_dev, _) = dev::start_with(&temp, &["--mock-models", &example("replies.yaml")]);
    let run = temp.skein(&["run", &example("research.yaml")]).spawn().expect("it can be started");
    let deadline = Instant::now() + PATIENCE;
    // Until it is at the step that somebody has to allow, there is nothing to decide about.
    loop {
        let decided =
            temp.skein(&["decide", "last", "research", "4", "--approve"]).output().unwrap();
        if decided.status.success() {
            break;
        }
        let stderr = String::from_utf8_lossy(&decided.stderr);
        assert!(Instant::now() < deadline, "it never asked: {stderr}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = run.wait_with_output().expect("it can be waited for");
    let shown = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    assert!(shown.contains("It starts runs and shows what they did and cost."), "{shown}");
    assert!(shown.contains("\"stopped_by\": \"answer\""), "{shown}");
    let steps = temp.skein(&["steps", "last"]).output().unwrap();
    let steps = String::from_utf8_lossy(&steps.stdout).into_owned();
    assert!(steps.contains("write_down") && steps.contains("gpt-4o-mini"), "{steps}");
}
