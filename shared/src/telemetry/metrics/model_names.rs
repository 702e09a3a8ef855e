//! Names of models as labels: a bounded set.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Names that a process tells apart. An installation uses some tens of models; each makes about fifty series of its own.
const NAMES_MAX: usize = 64;

/// What all others are called.
const OTHER: &str = "other";

static NAMES: Mutex<Names> = Mutex::new(Names(BTreeSet::new()));

/// The names that were seen first.
struct Names(BTreeSet<Arc<str>>);

/// A model as a label. Workflows may write any name, so only one that has a price keeps it: the operator, or this
/// program, knows that there is such a model. And of these only the first ones that a process sees.
pub(super) fn label(model: &Arc<str>, has_price: bool) -> Arc<str> {
    let other = || OTHER.into();
    if !has_price {
        return other();
    }
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).admit(model).unwrap_or_else(other)
}

impl Names {
    fn admit(&mut self, model: &Arc<str>) -> Option<Arc<str>> {
        if let Some(known) = self.0.get(model) {
            return Some(Arc::clone(known));
        }
        (self.0.len() < NAMES_MAX).then(|| {
            self.0.insert(Arc::clone(model));
            Arc::clone(model)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_and_no_more() {
        let mut names = Names(BTreeSet::new());
        let name = |number: usize| Arc::<str>::from(format!("model-{number}"));
        for number in 0..NAMES_MAX {
            assert_eq!(names.admit(&name(number)), Some(name(number)));
        }
        assert_eq!(names.admit(&name(NAMES_MAX)), None);
        assert_eq!(names.admit(&name(0)), Some(name(0)));
    }

    #[test]
    fn a_name_without_a_price_is_no_label() {
        let model: Arc<str> = "ft:whatever:acme".into();
        assert_eq!(&*label(&model, false), OTHER);
        assert_eq!(label(&model, true), model);
    }
}
