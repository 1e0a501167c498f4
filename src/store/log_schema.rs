//! The tables of the log: one row a request, its bodies apart, figures per hour.
//!
//! `requests.seq` is the time in microseconds times 256, plus a number that tells apart what began
//! at the same time: the table lies in the order of time, and no page of it needs a sort. Both
//! SQLite and Postgres take this SQL, but for the words that [`for_postgres`] changes. Never: a
//! step that is released is changed; new ones are added.

/// From an empty database to the present, as `PRAGMA user_version` counts.
pub const MIGRATIONS: &[&str] = &[FIRST];

const FIRST: &str = "
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    time INTEGER NOT NULL,
    total_us INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    priced INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_code INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    object TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    canonical_model TEXT NOT NULL,
    selected_key_id TEXT NOT NULL,
    selected_key_name TEXT NOT NULL,
    virtual_key_id TEXT NOT NULL,
    virtual_key_name TEXT NOT NULL,
    team_id TEXT NOT NULL,
    team_name TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    customer_name TEXT NOT NULL,
    routing_rule_id TEXT NOT NULL,
    routing_rule_name TEXT NOT NULL,
    stop_reason TEXT NOT NULL,
    error_code TEXT NOT NULL,
    error TEXT NOT NULL,
    retries INTEGER NOT NULL,
    fallback INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    input_audio_tokens INTEGER NOT NULL,
    output_audio_tokens INTEGER NOT NULL,
    web_searches INTEGER NOT NULL,
    service_tier TEXT NOT NULL,
    queue_us INTEGER NOT NULL,
    connect_us INTEGER NOT NULL,
    first_byte_us INTEGER NOT NULL,
    own_us INTEGER NOT NULL,
    client_dialect TEXT NOT NULL,
    upstream_dialect TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    session_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    app TEXT NOT NULL,
    losses TEXT NOT NULL,
    metadata TEXT NOT NULL,
    trail TEXT NOT NULL
);
CREATE INDEX requests_by_id ON requests (id);
CREATE INDEX requests_by_total ON requests (total_us, seq);
CREATE INDEX requests_by_tokens ON requests (total_tokens, seq);
CREATE INDEX requests_by_cost ON requests (cost, seq);
CREATE INDEX requests_by_provider ON requests (provider, seq);
CREATE INDEX requests_by_model ON requests (model, seq);
CREATE INDEX requests_by_status ON requests (status, seq) WHERE status <> 'success';
CREATE INDEX requests_by_virtual_key ON requests (virtual_key_id, seq) WHERE virtual_key_id <> '';
CREATE INDEX requests_by_session ON requests (session_id, seq) WHERE session_id <> '';
CREATE INDEX requests_by_parent ON requests (parent_id, seq) WHERE parent_id <> '';
CREATE TABLE bodies (
    seq INTEGER PRIMARY KEY,
    request TEXT NOT NULL,
    request_cut INTEGER NOT NULL,
    response TEXT NOT NULL,
    response_cut INTEGER NOT NULL
);
CREATE TABLE counters (
    dimension TEXT NOT NULL,
    hour INTEGER NOT NULL,
    value TEXT NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    total_us INTEGER NOT NULL,
    first_byte_us INTEGER NOT NULL,
    own_us INTEGER NOT NULL,
    PRIMARY KEY (dimension, hour, value)
) WITHOUT ROWID;
CREATE TABLE names (
    dimension TEXT NOT NULL,
    value TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (dimension, value)
) WITHOUT ROWID;
";

/// The columns of a row of `requests`, in the order of [`super::log_row::Row`].
pub const COLUMNS: [&str; 55] = [
    "seq",
    "id",
    "time",
    "total_us",
    "total_tokens",
    "cost",
    "priced",
    "status",
    "status_code",
    "stream",
    "object",
    "provider",
    "model",
    "alias",
    "canonical_model",
    "selected_key_id",
    "selected_key_name",
    "virtual_key_id",
    "virtual_key_name",
    "team_id",
    "team_name",
    "customer_id",
    "customer_name",
    "routing_rule_id",
    "routing_rule_name",
    "stop_reason",
    "error_code",
    "error",
    "retries",
    "fallback",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "web_searches",
    "service_tier",
    "queue_us",
    "connect_us",
    "first_byte_us",
    "own_us",
    "client_dialect",
    "upstream_dialect",
    "method",
    "path",
    "session_id",
    "parent_id",
    "user_agent",
    "app",
    "losses",
    "metadata",
    "trail",
];

/// The same SQL in the words of Postgres.
pub fn for_postgres(sql: &str) -> String {
    sql.replace("INTEGER", "BIGINT")
        .replace(" REAL ", " DOUBLE PRECISION ")
        .replace(") WITHOUT ROWID", ")")
}
