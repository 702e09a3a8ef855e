//! What the edges of one node may take together where others wait for the thread.

use super::*;

const LEAVE: Leave = Leave { retain: false, unit: 0.0 };

/// A node behind another, with so many edges, each with a condition that takes a part of what may be computed in place.
fn fan(edges: usize) -> Value {
    let log = |id: String| json!({ "id": id, "type": "log", "params": { "message": "hi" } });
    let nodes: Vec<_> = (0..=edges + 1).map(|at| log(format!("n{at}"))).collect();
    let when = "{{ range(1000) | list | length == 1000 }}";
    let edge = |to| json!({ "from": "n1", "to": format!("n{to}"), "when": when });
    let first = json!({ "from": "n0", "to": "n1" });
    let edges: Vec<_> = std::iter::once(first).chain((2..edges + 2).map(edge)).collect();
    json!({ "name": "fan", "nodes": nodes, "edges": edges })
}

/// Makes an attempt at a node, and has its edges judged if that is a matter of an instant.
fn judged(world: &World, run: &mut RunContext, node: NodeIx) -> Option<(Attempt, Concluded)> {
    let attempt = Attempt::first(node, world.key(node), new_span_id());
    let execution = inline(run, &attempt, &world.executors).unwrap();
    let (evaluator, cancelled) = (Evaluator::new(), never());
    let concluded = judge::conclude(run, &attempt, execution, LEAVE, &evaluator, &cancelled);
    let concluded = concluded.now_or_never()?;
    Some((attempt, concluded))
}

#[tokio::test]
async fn conditions_that_are_small_each_do_not_add_up_on_the_thread() {
    for (edges, at_once) in [(1, true), (400, false)] {
        let world = World::new(&fan(edges), 0);
        let node = world.place("n1");
        assert_eq!(judged(&world, &mut world.new_context(), node).is_some(), at_once);
    }
}

#[test]
fn a_node_whose_conditions_add_up_is_not_inlined() {
    let world = World::new(&fan(400), 0);
    let (mut run, now) = (world.new_context(), SystemTime::now());
    let (attempt, concluded) = judged(&world, &mut run, world.place("n0")).unwrap();
    let timing = Timing { start: now, end: now };
    let attempted = Attempted { attempt: &attempt, timing, concluded };
    let decision = after_attempt(&mut run, &world.executors, LEAVE, 1, attempted);
    let [row] = &decision.commit.rows[..] else { panic!("{:?}", decision.commit.rows) };
    assert_eq!((&*row.spec.node, &row.state), ("n1", &NewRowState::Queued));
}
