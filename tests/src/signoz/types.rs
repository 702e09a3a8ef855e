//! How SigNoz keeps attributes.

/// What SigNoz keeps a value as: a column each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// A string; lists of strings are one as well.
    Text,
    /// An integer or a float.
    Number,
    /// A boolean.
    Bool,
}

/// Where an attribute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the span, or as a label of the metric.
    Attribute,
    /// On the process that it is from.
    Resource,
}
