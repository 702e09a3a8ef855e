//! Items that are sent together.

use super::item::Item;

/// Encoded items by their scopes, each of which a request names once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    scopes: Vec<OfScope>,
    /// Where the last item went: the next one is likely to go there too.
    latest: usize,
    items: usize,
    bytes: usize,
}

#[derive(Debug)]
struct OfScope {
    scope: Vec<u8>,
    items: Vec<u8>,
}

impl Batch {
    pub(super) fn push(&mut self, item: &Item) {
        let scope = item.scope();
        if self.scopes.get(self.latest).is_none_or(|latest| latest.scope != scope) {
            let known = self.scopes.iter().position(|it| it.scope == scope);
            self.latest = known.unwrap_or_else(|| {
                self.scopes.push(OfScope { scope: scope.to_vec(), items: Vec::new() });
                self.scopes.len() - 1
            });
        }
        self.scopes[self.latest].items.extend_from_slice(item.bytes());
        self.items += 1;
        self.bytes += item.bytes().len();
    }

    /// How many items there are.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// Bytes of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The scopes that have items, with them.
    pub(super) fn scopes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.scopes.iter().map(|it| (&it.scope[..], &it.items[..]));
        all.filter(|(_, items)| !items.is_empty())
    }

    /// Empties it, for other items, which likely are of the same scopes.
    pub(super) fn clear(&mut self) {
        self.scopes.retain(|it| !it.items.is_empty());
        self.scopes.iter_mut().for_each(|it| it.items.clear());
        (self.latest, self.items, self.bytes) = (0, 0, 0);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use opentelemetry::InstrumentationScope;
    use opentelemetry::logs::LogRecord as _;

    use super::super::log;
    use super::*;

    pub(in crate::telemetry::otlp) fn item(scope: &'static str, body: &str) -> Item {
        let mut record = log::tests::bare();
        record.set_body(body.to_owned().into());
        let mut item = Item::default();
        item.set_log(&record, &InstrumentationScope::builder(scope).build());
        item
    }

    fn shape(batch: &Batch) -> Vec<usize> {
        batch.scopes().map(|(_, items)| items.len()).collect()
    }

    #[test]
    fn items_of_a_scope_come_together_whatever_comes_in_between() {
        let mut batch = Batch::default();
        let (one, other) = (item("a", "short"), item("b", "somewhat longer"));
        for each in [&one, &other, &one, &one, &other] {
            batch.push(each);
        }
        let (short, long) = (one.bytes().len(), other.bytes().len());
        assert_eq!(shape(&batch), [3 * short, 2 * long]);
        assert_eq!((batch.items(), batch.bytes()), (5, 3 * short + 2 * long));
    }

    #[test]
    fn a_batch_that_is_used_again_has_nothing_of_before() {
        let mut batch = Batch::default();
        let (one, other) = (item("a", "x"), item("b", "x"));
        [&one, &other].into_iter().for_each(|it| batch.push(it));
        batch.clear();
        assert_eq!((batch.items(), batch.bytes(), shape(&batch)), (0, 0, vec![]));
        batch.push(&other);
        assert_eq!(shape(&batch), [other.bytes().len()]);
        // Scopes that nothing comes of any more are forgotten.
        batch.clear();
        assert_eq!(batch.scopes.len(), 1);
    }
}
