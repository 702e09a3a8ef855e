//! Activations: a step loads a row, changes it and saves it.

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use super::log;
use super::rows::get;
use super::writer::Tx;
use crate::domain::ids::{ActivationKey, LeaseId, RunId, SkipToken};
use crate::domain::run::RunHeader;
use crate::domain::state::NodeState;
use crate::domain::tenant::Identity;
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::engine::{END_KIND, NodeSpec};
use crate::store::log_entry::Entry;
use crate::store::row_values::RowValues;
use crate::store::rows::{Columns, count, parse, parse_optional};
use crate::store::timing::millis;

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Declares the columns that steps read and change, once: a field of [`NodeRow`] each, and the statements that read and
/// write them.
macro_rules! node_row {
    ($($(#[$meta:meta])* $column:ident: $type:ty,)+) => {
        /// An activation as a transaction sees it, without its payloads. Times are in microseconds since 1970.
        #[derive(Debug, Clone)]
        pub(super) struct NodeRow {
            /// Its row number in the table; 0 before it is inserted.
            pub(super) ordinal: i64,
            pub(super) key: ActivationKey,
            pub(super) kind: String,
            $($(#[$meta])* pub(super) $column: $type,)+
        }

        /// The columns of a [`NodeRow`] in a query over `node_runs n`.
        macro_rules! node_columns {
            () => {
                concat!(
                    "n.ordinal, n.run_id, n.node_key, n.scope, n.kind"
                    $(, ", n.", stringify!($column))+
                )
            };
        }

        const UPDATE: &str = concat!(
            "UPDATE node_runs SET input = coalesce(?, input), output = CASE WHEN ? THEN ? ELSE output END,
                                  error = CASE WHEN ? THEN ? ELSE error END"
            $(, ", ", stringify!($column), " = ?")+,
            " WHERE ordinal = ?"
        );

        const INSERT: &str = concat!(
            "INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, input, output, error"
            $(, ", ", stringify!($column))+,
            ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?"
            $(, blank!($column))+,
            ")"
        );

        impl NodeRow {
            pub(super) fn read(row: &SqliteRow) -> Result<Self, StoreError> {
                Ok(Self {
                    ordinal: get(row, "ordinal")?,
                    key: ActivationKey {
                        run: parse(row, "run_id")?,
                        node: get::<&str>(row, "node_key")?.into(),
                        scope: get::<&str>(row, "scope")?.into(),
                    },
                    kind: get(row, "kind")?,
                    $($column: Column::read(row, stringify!($column))?,)+
                })
            }

            fn bind<'q>(&self, statement: Statement<'q>) -> Statement<'q> {
                $(let statement = self.$column.bind(statement);)+
                statement
            }
        }
    };
}

macro_rules! blank {
    ($column:ident) => {
        ", ?"
    };
}

node_row! {
    state: NodeState,
    /// Tokens that a join waits for in all.
    fan_in: u32,
    /// Tokens that are still to come.
    pending: i64,
    /// Live tokens so far.
    live: i64,
    claim: u32,
    attempts: u32,
    failures: u32,
    strikes: u32,
    suspect: bool,
    /// Crashes in a row.
    crashes: u32,
    crashed: bool,
    lease_id: Option<LeaseId>,
    /// The worker of the latest attempt: `host:pid`.
    worker: Option<String>,
    timeout_ms: i64,
    publish_span_id: SpanId,
    /// The span of the latest attempt; on a skipped row, which has had none, the token of the skip.
    span_id: Option<SpanId>,
    /// The segment of the run whose trace holds that span.
    segment: u32,
    waited_until: Option<i64>,
    /// What it waits for, or has waited for, as JSON text, unless that is a time alone.
    waiting_for: Option<String>,
    /// Whether something came from outside since it was claimed.
    signalled: bool,
    wake_at: Option<i64>,
    wakes: i32,
    message_expected: bool,
    /// Sweeps in a row that found it beside a deep queue.
    deep_wakes: u32,
    queued_at: Option<i64>,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}
pub(super) use node_columns;

impl NodeRow {
    /// A row of a run that is not in the table yet, of a node that is `queued` and has no time to be due at.
    pub(super) fn new(run: RunId, spec: &NodeSpec) -> Self {
        Self {
            ordinal: 0,
            key: ActivationKey { run, node: spec.node.clone(), scope: spec.scope.clone() },
            kind: spec.kind.to_owned(),
            state: NodeState::Queued,
            fan_in: 0,
            pending: 0,
            live: 0,
            claim: 0,
            attempts: 0,
            failures: 0,
            strikes: 0,
            suspect: false,
            crashes: 0,
            crashed: false,
            lease_id: None,
            worker: None,
            timeout_ms: millis(spec.timeout),
            publish_span_id: spec.publish_span,
            span_id: None,
            segment: 1,
            waited_until: None,
            waiting_for: None,
            signalled: false,
            wake_at: None,
            wakes: 0,
            message_expected: true,
            deep_wakes: 0,
            queued_at: None,
            started_at: None,
            ended_at: None,
        }
    }

    /// Whether a message is said to be there for it. It may be lost all the same.
    pub(super) fn has_message(&self) -> bool {
        // The version before wrote -1 wakes for no message.
        self.message_expected && self.wakes >= 0
    }

    /// Notes which skip ended it.
    pub(super) fn set_skip_token(&mut self, token: SkipToken) {
        self.span_id = Some(SpanId(token.0));
    }

    /// Which skip ended it, if it is skipped.
    pub(super) fn skip_token(&self) -> Option<SkipToken> {
        let kept = self.span_id.filter(|_| self.state == NodeState::Skipped);
        kept.map(|kept| SkipToken(kept.0))
    }
}

/// A value in a column.
trait Column: Sized {
    fn read(row: &SqliteRow, column: &'static str) -> Result<Self, StoreError>;
    fn bind<'q>(&self, statement: Statement<'q>) -> Statement<'q>;
}

macro_rules! column {
    ($($type:ty: $read:expr, |$value:ident| $bound:expr;)+) => {
        $(
            impl Column for $type {
                fn read(row: &SqliteRow, column: &'static str) -> Result<Self, StoreError> {
                    $read(row, column)
                }

                fn bind<'q>(&self, statement: Statement<'q>) -> Statement<'q> {
                    let $value = self;
                    statement.bind($bound)
                }
            }
        )+
    };
}

column! {
    bool: get, |value| *value;
    i32: get, |value| *value;
    i64: get, |value| *value;
    u32: count, |value| *value;
    Option<i64>: micros, |at| *at;
    Option<String>: get, |text| text.clone();
    NodeState: parse, |state| state.as_str();
    SpanId: parse, |span| span.to_string();
    Option<SpanId>: parse_optional, |span| span.map(|span| span.to_string());
    Option<LeaseId>: parse_optional, |lease| lease.map(|lease| lease.to_string());
}

/// A time, if it is one.
fn micros(row: &SqliteRow, column: &'static str) -> Result<Option<i64>, StoreError> {
    Ok(row.time(column)?.map(|at| at.timestamp_micros()))
}

/// Reads an activation.
pub(super) async fn load(
    tx: &mut Tx<'_>,
    run: RunId,
    node: &str,
    scope: &str,
) -> Result<Option<NodeRow>, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(concat!(
                "SELECT ",
                node_columns!(),
                " FROM node_runs n WHERE n.run_id = ?1 AND n.node_key = ?2 AND n.scope = ?3"
            ))
            .bind(run.to_string())
            .bind(node)
            .bind(scope),
        )
        .await?;
    row.as_ref().map(NodeRow::read).transpose()
}

/// Writes a row that was loaded and changed. Its payloads stay.
pub(super) async fn save(tx: &mut Tx<'_>, node: &NodeRow) -> Result<(), StoreError> {
    update(tx, node, None).await
}

/// Writes a row that was loaded and changed, and the payloads of what ended or parked it. An input stays that it does not
/// have; output and error are its own or none.
pub(super) async fn save_with(
    tx: &mut Tx<'_>,
    node: &NodeRow,
    values: &RowValues<'_>,
) -> Result<(), StoreError> {
    update(tx, node, Some(values)).await
}

async fn update(
    tx: &mut Tx<'_>,
    node: &NodeRow,
    values: Option<&RowValues<'_>>,
) -> Result<(), StoreError> {
    let statement = sqlx::query(UPDATE)
        .bind(values.and_then(|values| values.input))
        .bind(values.is_some())
        .bind(values.and_then(|values| values.output))
        .bind(values.is_some())
        .bind(values.and_then(RowValues::error_json));
    tx.execute(node.bind(statement).bind(node.ordinal)).await?;
    Ok(())
}

/// Writes a new row.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    tenant: &Identity,
    node: &NodeRow,
    values: Option<&RowValues<'_>>,
) -> Result<(), StoreError> {
    let statement = sqlx::query(INSERT)
        .bind(node.key.run.to_string())
        .bind(&*node.key.node)
        .bind(&*node.key.scope)
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(&node.kind)
        .bind(values.and_then(|values| values.input))
        .bind(values.and_then(|values| values.output))
        .bind(values.and_then(RowValues::error_json));
    tx.execute(node.bind(statement)).await?;
    Ok(())
}

/// Defers a row that cannot be read, and so not be loaded.
pub(super) async fn pass_over(tx: &mut Tx<'_>, ordinal: i64, until: i64) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query("UPDATE node_runs SET wake_at = ?2 WHERE ordinal = ?1")
            .bind(ordinal)
            .bind(until),
    )
    .await?;
    Ok(())
}

/// Makes everything due that a message is to wake, of which there is none now. As a whole: it may be a long backlog.
pub(super) async fn expect_no_messages(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE node_runs SET wakes = 0, message_expected = 0, deep_wakes = 0, wake_at = min(wake_at, ?1)
             WHERE wake_at IS NOT NULL AND state IN ('queued', 'skipping')",
        )
        .bind(tx.now),
    )
    .await?;
    Ok(())
}

/// Cancels an open row that nobody holds, and logs it.
pub(super) async fn cancel(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    mut node: NodeRow,
) -> Result<(), StoreError> {
    node.state = NodeState::Cancelled;
    node.wake_at = None;
    node.ended_at = Some(tx.now);
    save(tx, &node).await?;
    if node.kind != END_KIND {
        log::write(tx, run, Entry::node_cancelled(&node.kind, &node.key, None)).await?;
    }
    Ok(())
}
