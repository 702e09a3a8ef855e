-- Grants calls their starts, one provider's one after the other. The parameters are those of `GrantStarts` in rates.rs; the
-- rule is that of `RateBucket::take` in domain/rate.rs.
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT a.*, row_number() OVER (PARTITION BY a.provider ORDER BY a.ord) AS place
    FROM {asks} a
),
locked AS MATERIALIZED (
    SELECT b.provider, b.requests_at, b.tokens_at, (extract(epoch FROM now()) * 1000000)::bigint AS now_at
    FROM (SELECT DISTINCT provider FROM asked) p
    JOIN rate_buckets b USING (provider)
    ORDER BY b.provider
    FOR UPDATE OF b
),
chain AS (
    SELECT l.provider, 0::bigint AS place, NULL::bigint AS ord, NULL::bigint AS start_in, l.requests_at, l.tokens_at, l.now_at
    FROM locked l
    UNION ALL
    SELECT c.provider, a.place, a.ord, CASE WHEN s.is_near THEN s.start_at - c.now_at END,
           CASE WHEN s.is_near AND a.requests IS NOT NULL THEN greatest(c.requests_at, s.start_at) + a.requests
                ELSE c.requests_at END,
           CASE WHEN s.is_near AND a.tokens IS NOT NULL THEN greatest(c.tokens_at, s.start_at) + a.tokens
                ELSE c.tokens_at END,
           c.now_at
    FROM chain c
    JOIN asked a ON a.provider = c.provider AND a.place = c.place + 1
    CROSS JOIN LATERAL (
        SELECT x.start_at, x.start_at - c.now_at <= {ahead_max} AS is_near
        FROM (
            -- The greatest of those that are not null.
            SELECT greatest(c.now_at, CASE WHEN a.requests IS NOT NULL THEN c.requests_at - a.requests_burst END,
                            CASE WHEN a.tokens IS NOT NULL THEN c.tokens_at - a.tokens_burst END) AS start_at
        ) x
    ) s
),
taken AS (
    UPDATE rate_buckets b
    SET requests_at = e.requests_at, tokens_at = e.tokens_at
    FROM (SELECT DISTINCT ON (provider) * FROM chain ORDER BY provider, place DESC) e
    WHERE b.provider = e.provider
)
SELECT ord, start_in FROM chain WHERE ord IS NOT NULL
