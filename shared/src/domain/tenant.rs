//! Whose work it is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What an API key stands for, and what every row, message and span of a run is attributed to.
///
/// Only authentication and the store make one. A store method that serves a request takes it by
/// reference, so a query that is not filtered by organization and workspace cannot be written by
/// forgetting an argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// `organization.id`: the tenant.
    pub organization: Arc<str>,
    /// `workspace.id`: a division of the tenant with workflows of its own.
    pub workspace: Arc<str>,
    /// `user.id`: who asked.
    pub user: Arc<str>,
}

impl Identity {
    /// An identity from its three names.
    pub fn new(
        organization: impl Into<Arc<str>>,
        workspace: impl Into<Arc<str>>,
        user: impl Into<Arc<str>>,
    ) -> Self {
        Self { organization: organization.into(), workspace: workspace.into(), user: user.into() }
    }
}
