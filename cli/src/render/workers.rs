//! Who works on a run.

use std::collections::BTreeSet;

use crate::client::{NodeRun, Run};

/// Why nothing of a run goes on, if that is because there is nobody who could.
pub(super) fn no_worker(run: &Run) -> Option<&'static str> {
    let is_alone = run.no_worker == Some(true) && !run.has_ended();
    is_alone.then_some("no worker lives: start one with skein-worker")
}

/// Whether several workers took part in a run, as far as the server says.
pub(super) fn are_several(run: &Run) -> bool {
    run.nodes.iter().flat_map(workers).collect::<BTreeSet<_>>().len() > 1
}

/// The workers that made the attempts at a node, in the order of these; each once.
pub(super) fn workers_of(node: &NodeRun) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in workers(node) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn workers(node: &NodeRun) -> impl Iterator<Item = &str> {
    let earlier = node.earlier_attempts.iter().map(|attempt| &attempt.worker);
    earlier.chain([&node.worker]).filter_map(Option::as_deref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::run;

    #[test]
    fn a_node_names_the_workers_that_tried_it_once_each() {
        let mut run = run();
        assert!(!are_several(&run) && workers_of(&run.nodes[1]).is_empty());
        run.nodes[0].worker = Some("a:1".to_owned());
        run.nodes[1].worker = Some("a:1".to_owned());
        assert!(!are_several(&run));
        run.nodes[1].earlier_attempts[0].worker = Some("b:2".to_owned());
        assert!(are_several(&run));
        assert_eq!(workers_of(&run.nodes[1]), "b:2, a:1");
        run.nodes[1].worker = Some("b:2".to_owned());
        assert_eq!(workers_of(&run.nodes[1]), "b:2");
    }
}
