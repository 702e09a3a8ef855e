//! What is kept of runs' spans, on SQLite.

use async_trait::async_trait;
use serde_json::json;

use super::{SqliteStore, store_error};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::kind::NodeKind;
use crate::domain::run::ClosedSegment;
use crate::domain::tenant::Identity;
use crate::domain::traced::{AttemptPosition, TracedAttempt, TracedNode, TracedRun, TracedStep};
use crate::store::rows::closed_segment;
use crate::store::traces::TraceStore;
use crate::store::{StoreError, trace_views};

/// The columns of a run's header, but those of its trace.
macro_rules! header_columns {
    () => {
        "r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
         r.node_count, r.edge_count, r.publish_span_id, r.trace_flags, r.created_at"
    };
}

/// The ids of the trace of the segment `s` of the run `r`. Only segments that are over are there: without one, it is the
/// trace that the run has now.
macro_rules! trace_columns {
    () => {
        "coalesce(s.trace_id, r.trace_id) AS trace_id, coalesce(s.root_span_id, r.root_span_id) AS root_span_id,
         CASE WHEN s.run_id IS NULL THEN r.trace_state ELSE s.trace_state END AS trace_state"
    };
}

const RUN: &str = concat!(
    "SELECT ",
    header_columns!(),
    ", r.trace_id, r.root_span_id, r.trace_state, r.state, r.error, r.started_at, r.ended_at, r.segment, r.resumed_at,
       r.resumed_from, coalesce(f.trace_id, r.trace_id) AS first_trace_id,
       coalesce(f.root_span_id, r.root_span_id) AS first_root_span_id,
       CASE WHEN f.run_id IS NULL THEN r.trace_state ELSE f.trace_state END AS first_trace_state,
       (SELECT CASE l.event WHEN 'run.accepted' THEN l.span_id END
        FROM (SELECT event, span_id FROM event_logs WHERE run_id = ?3 ORDER BY id LIMIT 1) l) AS request_span_id,
       (SELECT count(*) FROM node_runs n WHERE n.run_id = r.id AND n.publish_span_id = r.publish_span_id) AS entries
     FROM runs r
     LEFT JOIN run_segments f ON f.run_id = r.id AND f.segment = 1
     WHERE r.organization_id = ?1 AND r.workspace_id = ?2 AND r.id = ?3"
);

const SEGMENTS: &str = concat!(
    "SELECT ",
    header_columns!(),
    ", s.trace_id, s.root_span_id, s.trace_state, r.started_at, s.segment, s.started_at AS resumed_at, s.resumed_from,
       s.suspended_at, s.resumed_as
     FROM run_segments s
     JOIN runs r ON r.id = s.run_id
     WHERE s.run_id = ?3 AND s.organization_id = ?1 AND s.workspace_id = ?2 AND s.segment > ?4
     ORDER BY s.segment
     LIMIT ?5"
);

/// The last attempt of a node is on its own row, if it has ended the node; all others, and that of a node that was
/// cancelled after one, are in the table of attempts under the row's claim.
const ATTEMPTS: &str = concat!(
    "WITH page AS MATERIALIZED (
         SELECT *
         FROM (
             SELECT n.ordinal, a.claim, n.claim AS last_claim, n.node_key, n.scope, n.kind, n.publish_span_id, a.attempt,
                    a.outcome AS ended_as, a.error, a.span_id, a.segment, a.started_at, a.ended_at
             FROM node_runs n
             JOIN node_attempts a ON a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
             WHERE n.run_id = ?3 AND n.organization_id = ?1 AND n.workspace_id = ?2 AND n.kind <> 'end'
             UNION ALL
             SELECT n.ordinal, n.claim, n.claim, n.node_key, n.scope, n.kind, n.publish_span_id, n.attempts, n.state, n.error,
                    n.span_id, n.segment, n.started_at, n.ended_at
             FROM node_runs n
             WHERE n.run_id = ?3 AND n.organization_id = ?1 AND n.workspace_id = ?2 AND n.kind <> 'end'
               AND n.state IN ('succeeded', 'failed', 'cancelled') AND n.attempts > 0
               AND n.started_at IS NOT NULL AND n.ended_at IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM node_attempts a
                               WHERE a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
                                 AND a.claim = n.claim)
         ) t
         WHERE t.span_id IS NOT NULL AND (t.ordinal, t.claim) > (?4, ?5)
         ORDER BY t.ordinal, t.claim
         LIMIT ?6
     )
     SELECT p.ordinal, p.claim, p.node_key, p.scope, p.kind, p.publish_span_id AS node_publish_span_id, p.attempt,
            p.ended_as, p.error AS node_error, p.span_id AS node_span_id, p.started_at AS node_started_at,
            p.ended_at AS node_ended_at,
            p.last_claim = 1 AND p.claim = 1 AND NOT EXISTS (SELECT 1 FROM node_attempts a
                                        WHERE a.run_id = ?3 AND a.node_key = p.node_key AND a.scope = p.scope
                                          AND a.claim = 0) AS is_only,
            p.kind = ?7 AS is_agent,
            -- `sum` fails where numbers are too large, as no count is; these are whole numbers up to 2^53.
            (SELECT CAST(min(total(CASE WHEN h.input_tokens IS NOT NULL THEN h.input_tokens + h.output_tokens
                                        WHEN h.estimated THEN h.reserved_input_tokens + h.reserved_output_tokens END),
                             9e18) AS INTEGER)
             FROM agent_trace_history h
             WHERE h.run_id = ?3 AND h.node_key = p.node_key AND h.scope = p.scope AND h.claim <= p.claim
               AND p.kind = ?7 AND h.status <> 'started') AS agent_tokens,
            (SELECT CAST(min(total(h.cost_nanos), 9e18) AS INTEGER) FROM agent_trace_history h
             WHERE h.run_id = ?3 AND h.node_key = p.node_key AND h.scope = p.scope AND h.claim <= p.claim
               AND p.kind = ?7) AS agent_nanos,
            (SELECT count(DISTINCT h.step) FROM agent_trace_history h
             WHERE h.run_id = ?3 AND h.node_key = p.node_key AND h.scope = p.scope AND h.claim <= p.claim
               AND p.kind = ?7 AND h.kind = 'model' AND h.status = 'succeeded') AS agent_iterations,
            (SELECT max(h.provider) FROM agent_trace_history h
             WHERE h.run_id = ?3 AND h.node_key = p.node_key AND h.scope = p.scope AND h.claim <= p.claim
               AND p.kind = ?7) AS agent_provider,
            EXISTS (SELECT 1 FROM agent_trace_history h
                    WHERE h.run_id = ?3 AND h.node_key = p.node_key AND h.scope = p.scope AND h.claim = p.claim)
                AS agent_has_steps,
            CASE WHEN p.kind = ?7 THEN
                (SELECT json_object('framework', n.input -> '$.framework', 'provider', n.input -> '$.provider',
                                    'model', n.input -> '$.model')
                 FROM node_runs n WHERE n.ordinal = p.ordinal AND n.input IS NOT NULL) END AS parameters, ",
    header_columns!(),
    ", ",
    trace_columns!(),
    " FROM page p
     JOIN runs r ON r.id = ?3
     LEFT JOIN run_segments s ON s.run_id = r.id AND s.segment = p.segment
     ORDER BY p.ordinal, p.claim"
);

const NODES: &str = concat!(
    "SELECT n.node_key, n.scope, CASE WHEN n.attempts > 0 THEN n.span_id END AS node_span_id,
            n.ended_at AS node_ended_at, r.publish_span_id, r.trace_flags, ",
    trace_columns!(),
    " FROM json_each(?4) w
     JOIN node_runs n ON n.run_id = ?3 AND n.node_key = json_extract(w.value, '$[0]')
                     AND n.scope = json_extract(w.value, '$[1]')
     JOIN runs r ON r.id = n.run_id
     LEFT JOIN run_segments s ON s.run_id = r.id AND s.segment = n.segment
     WHERE n.organization_id = ?1 AND n.workspace_id = ?2"
);

/// Of a node's parameters and of what a model has answered, which may be large, only what stands on spans is taken.
const STEPS: &str = concat!(
    "WITH page AS MATERIALIZED (
         SELECT * FROM agent_trace_history INDEXED BY agent_trace_history_of_run
         WHERE run_id = ?3 AND organization_id = ?1 AND workspace_id = ?2 AND id > ?4
           AND status IN ('succeeded', 'failed', 'refused', 'lost') AND ended_at IS NOT NULL
         ORDER BY id
         LIMIT ?5
     ),
     inputs AS MATERIALIZED (
         SELECT n.node_key, n.scope,
                json_object('temperature', n.input -> '$.temperature', 'top_p', n.input -> '$.top_p',
                            'seed', n.input -> '$.seed', 'stop', n.input -> '$.stop', 'stream', n.input -> '$.stream',
                            'has_schema', json(CASE WHEN coalesce(json_type(n.input, '$.schema'), 'null') = 'null'
                                                    THEN 'false' ELSE 'true' END),
                            'http_tools',
                            CASE WHEN json_type(n.input, '$.tools') = 'array'
                                 THEN (SELECT json_group_array(json_extract(t.value, '$.http.name'))
                                       FROM json_each(n.input, '$.tools') t
                                       WHERE t.type = 'object' AND json_type(t.value, '$.http') = 'object') END)
                    AS parameters
         FROM (SELECT DISTINCT node_key, scope FROM page) p
         JOIN node_runs n ON n.run_id = ?3 AND n.node_key = p.node_key AND n.scope = p.scope AND n.input IS NOT NULL
     )
     SELECT h.id AS step_id, h.node_key, h.scope, h.node_kind, h.step, h.attempt AS step_attempt, h.kind AS step_kind,
            h.name, h.status, h.provider, h.response_model, h.error AS step_error, h.reserved_input_tokens,
            h.reserved_output_tokens, h.input_tokens, h.cached_tokens, h.cache_write_tokens, h.output_tokens,
            h.cost_nanos, h.estimated, h.latency_ms, h.span_id AS step_span_id, h.parent_span_id,
            h.started_at AS step_started_at, h.ended_at AS step_ended_at, i.parameters,
            CASE WHEN h.kind = 'model' AND h.status = 'succeeded' THEN h.observation ->> '$.finish_reason' END
                AS finish_reason, ",
    header_columns!(),
    ", h.trace_id, coalesce(s.root_span_id, r.root_span_id) AS root_span_id,
       CASE WHEN s.run_id IS NULL THEN r.trace_state ELSE s.trace_state END AS trace_state
     FROM page h
     JOIN runs r ON r.id = h.run_id
     LEFT JOIN run_segments s ON s.run_id = h.run_id AND s.trace_id = h.trace_id
     LEFT JOIN inputs i ON i.node_key = h.node_key AND i.scope = h.scope
     ORDER BY h.id"
);

#[async_trait]
impl TraceStore for SqliteStore {
    async fn traced_run(
        &self,
        tenant: &Identity,
        run: RunId,
    ) -> Result<Option<TracedRun>, StoreError> {
        let row = sqlx::query(RUN)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.to_string())
            .fetch_optional(self.listing("traced_run"))
            .await
            .map_err(store_error)?;
        row.as_ref().map(trace_views::run).transpose()
    }

    async fn traced_segments(
        &self,
        tenant: &Identity,
        run: RunId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<ClosedSegment>, StoreError> {
        let rows = sqlx::query(SEGMENTS)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.to_string())
            .bind(after)
            .bind(limit)
            .fetch_all(self.listing("traced_segments"))
            .await
            .map_err(store_error)?;
        rows.iter().map(closed_segment).collect()
    }

    async fn traced_attempts(
        &self,
        tenant: &Identity,
        run: RunId,
        after: AttemptPosition,
        limit: u32,
    ) -> Result<Vec<TracedAttempt>, StoreError> {
        let rows = sqlx::query(ATTEMPTS)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.to_string())
            .bind(after.ordinal)
            .bind(after.claim)
            .bind(limit)
            .bind(NodeKind::Agent.as_str())
            .fetch_all(self.listing("traced_attempts"))
            .await
            .map_err(store_error)?;
        rows.iter().map(trace_views::attempt).collect()
    }

    async fn traced_nodes(
        &self,
        tenant: &Identity,
        run: RunId,
        keys: &[ActivationKey],
    ) -> Result<Vec<TracedNode>, StoreError> {
        let keys: Vec<_> = keys.iter().map(|key| json!([&*key.node, &*key.scope])).collect();
        let rows = sqlx::query(NODES)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.to_string())
            .bind(json!(keys).to_string())
            .fetch_all(self.listing("traced_nodes"))
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| trace_views::node(row, run)).collect()
    }

    async fn traced_steps(
        &self,
        tenant: &Identity,
        run: RunId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TracedStep>, StoreError> {
        let rows = sqlx::query(STEPS)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.to_string())
            .bind(after)
            .bind(limit)
            .fetch_all(self.listing("traced_steps"))
            .await
            .map_err(store_error)?;
        rows.iter().map(trace_views::step).collect()
    }
}
