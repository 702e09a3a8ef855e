//! No circle of files, but inside one concept.
//!
//! A module and what is in the folder of its name are one concept: the folder's parts may need what its own file
//! defines, and that file puts the parts together. Beside each other, parts are concepts of their own, each with all
//! that is in its folder, and their arrows run one way.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrows::{Arrow, Crate};
use crate::{assert_none, sources};

/// The parts of one folder: which needs which, and by which arrows.
type Needs<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a str>>>;

#[test]
fn neighbours_need_each_other_one_way() {
    let mut circles = Vec::new();
    for it in Crate::all(&sources()) {
        circles.extend(circles_of(&it.arrows()));
    }
    assert_none("circles of files", &circles);
}

fn circles_of(arrows: &[Arrow]) -> Vec<String> {
    let mut folders = BTreeMap::<&[String], Needs<'_>>::new();
    for Arrow { from, to, text } in arrows {
        let shared = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        if let (Some(part), Some(needed)) = (from.get(shared), to.get(shared)) {
            let parts = folders.entry(&from[..shared]).or_default();
            parts.entry(part).or_default().entry(needed).or_default().push(text);
        }
    }
    folders.values().flat_map(circles_among).collect()
}

/// Each circle in words: its parts, and the arrows that run between them.
fn circles_among(needs: &Needs<'_>) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        needs.keys().map(|part| (*part, reached_from(part, needs))).collect();
    let mut circles = BTreeSet::new();
    for (part, reached_by_part) in &reached {
        let returns = |other: &&&str| reached.get(**other).is_some_and(|it| it.contains(part));
        let circle: BTreeSet<&str> = reached_by_part.iter().filter(returns).copied().collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    let in_words = |circle: BTreeSet<&str>| {
        let arrows = circle.iter().flat_map(|part| &needs[part]);
        let arrows = arrows.filter(|(needed, _)| circle.contains(*needed));
        let arrows: Vec<_> = arrows.flat_map(|(_, arrows)| arrows).copied().collect();
        let parts: Vec<_> = circle.iter().copied().collect();
        format!("{}\n    {}", parts.join(", "), arrows.join("\n    "))
    };
    circles.into_iter().map(in_words).collect()
}

fn reached_from<'a>(part: &str, needs: &Needs<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![part];
    while let Some(next) = open.pop() {
        for needed in needs.get(next).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(*needed) {
                open.push(needed);
            }
        }
    }
    reached
}

#[test]
fn a_circle_is_found_between_neighbours_and_not_within_a_concept() {
    let arrow = |from: &str, to: &str| {
        let path = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Arrow { from: path(from), to: path(to), text: format!("{from} -> {to}") }
    };
    let concept = [arrow("a", "a x"), arrow("a x", "a"), arrow("a y", "a x"), arrow("a", "a y")];
    assert_eq!(circles_of(&concept), [] as [String; 0]);
    let far = [arrow("a x", "b y"), arrow("b z", "c"), arrow("c", "a w"), arrow("c", "d")];
    assert_eq!(circles_of(&far), ["a, b, c\n    a x -> b y\n    b z -> c\n    c -> a w"]);
    let near = [arrow("a x", "a y"), arrow("a y", "a x")];
    assert_eq!(circles_of(&near), ["x, y\n    a x -> a y\n    a y -> a x"]);
}
