//! What is written down of requests, and who may read it.
//!
//! In: `logs_store`, the logging members of `client`, `auth_config`. Out: [`Logging`] and an
//! [`Admin`]. Never: lets a header that carries a credential be logged.

use crate::config::check::is_header_name;
use crate::config::check_stores;
use crate::config::fault::{Faults, Path};
use crate::config::file::AuthConfig;
use crate::config::file_client::Client;
use crate::config::file_stores::{Interval, LogWriter, Store};
use crate::config::{Admin, Database, Logging};
use std::time::Duration;

/// The last second is all that a crash may cost.
const INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Headers that carry credentials.
const CREDENTIALS: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-bf-vk",
    "x-bf-api-key",
    "x-amz-security-token",
];

pub(super) fn logging(
    client: &Client,
    section: Option<&Store>,
    root: &Path,
    faults: &mut Faults,
) -> Logging {
    let path = root.key("client").key("logging_headers");
    for (at, name) in client.logging_headers.iter().enumerate() {
        if CREDENTIALS.iter().any(|secret| name.trim().eq_ignore_ascii_case(secret)) {
            faults.push(&path.index(at), "this header carries credentials and is never logged");
        } else if !is_header_name(name.trim()) {
            faults.push(&path.index(at), "this is no header's name");
        }
    }
    let path = root.key("logs_store");
    // Each request is a row to be written: that is for the operator to want.
    let database = match check_stores::store(section, &path, faults) {
        _ if section.is_none() || !client.enable_logging => Database::Off,
        database => database,
    };
    let usual = Logging::default();
    let writer = section.and_then(|store| store.writer.clone()).unwrap_or_default();
    let lower = |name: &String| name.trim().to_ascii_lowercase().into();
    Logging {
        store: database != Database::Off,
        database,
        content: !client.disable_content_logging,
        content_by_request: client.allow_per_request_content_storage_override,
        headers: client.logging_headers.iter().map(lower).collect(),
        hidden: client.hidden_request_types.iter().map(lower).collect(),
        access: client.access_log,
        retention_days: section
            .and_then(|store| store.retention_days)
            .unwrap_or(client.log_retention_days)
            .max(1),
        interval: interval(&writer, &path.key("writer"), faults).unwrap_or(usual.interval),
        batch: writer.max_batch_size.map_or(usual.batch, |size| size.max(1) as usize),
        queue: writer.write_queue_capacity.map_or(usual.queue, |size| size.max(1) as usize),
        queue_bytes: writer.max_batch_bytes.map_or(usual.queue_bytes, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX).max(1 << 20)
        }),
    }
}

fn interval(writer: &LogWriter, path: &Path, faults: &mut Faults) -> Option<Duration> {
    let found = match writer.batch_interval.as_ref()? {
        Interval::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Interval::Text(text) => super::check::duration(text),
    };
    if found.is_none() {
        faults.push(&path.key("batch_interval"), "expected a duration, as in `500ms`");
    }
    found.map(|interval| interval.clamp(Duration::from_millis(10), INTERVAL_MAX))
}

/// Who may administer; none where nobody has to log in.
pub(super) fn admin(
    section: Option<&AuthConfig>,
    path: &Path,
    faults: &mut Faults,
) -> Option<Admin> {
    let section = section.filter(|section| section.is_enabled)?;
    let path = path.key("auth_config");
    let mut given = |value: &Option<crate::provider::Secret>, name: &str| {
        let value = value.clone().filter(|value| !value.expose().is_empty());
        if value.is_none() {
            faults.push(&path.key(name), "is needed where `is_enabled` is true");
        }
        value
    };
    let username = given(&section.admin_username, "admin_username");
    let password = given(&section.admin_password, "admin_password");
    Some(Admin { username: username?, password: password? })
}

#[cfg(test)]
mod tests {
    use crate::config::check::{Outside, check};
    use crate::config::{Database, Snapshot};
    use std::io;
    use std::time::Duration;

    fn found(text: &str) -> Result<Snapshot, String> {
        let env = |name: &str| (name == "PW").then(|| "hush".to_owned());
        let outside = Outside { env: &env, read: &|_| Err(io::ErrorKind::NotFound.into()) };
        check(text, outside).map_err(|faults| faults.to_string())
    }

    #[test]
    fn requests_are_logged_where_there_is_a_store() {
        assert!(!found("{}").unwrap().logging.store);
        let usual = found(r#"{"logs_store": {"enabled": true}}"#).unwrap().logging;
        assert!(usual.store && usual.content && !usual.access);
        assert_eq!((usual.database, usual.retention_days), (Database::Sqlite(None), 365));
        assert!(!found(r#"{"logs_store": {"enabled": false}}"#).unwrap().logging.store);
        let off = r#"{"client": {"enable_logging": false}, "logs_store": {"enabled": true}}"#;
        assert!(!found(off).unwrap().logging.store);
        let slow = r#"{"logs_store": {"enabled": true, "type": "sqlite", "retention_days": 3,
            "writer": {"batch_interval": "5s", "write_queue_capacity": 7}}}"#;
        let slow = found(slow).unwrap().logging;
        assert_eq!((slow.retention_days, slow.queue), (3, 7));
        assert_eq!(slow.interval, Duration::from_secs(1), "a crash costs no more than that");
    }

    #[test]
    fn credentials_are_never_logged() {
        let refused = found(r#"{"client": {"logging_headers": ["x-team", "Authorization"]}}"#);
        let refused = refused.unwrap_err();
        assert!(refused.contains("client.logging_headers[1]: this header carries"), "{refused}");
    }

    #[test]
    fn an_administrator_needs_a_name_and_a_password() {
        let of = |auth: &str| found(&format!(r#"{{"governance": {{"auth_config": {auth}}}}}"#));
        let admin =
            of(r#"{"is_enabled": true, "admin_username": "a", "admin_password": "env.PW"}"#);
        assert_eq!(admin.unwrap().admin.unwrap().password.expose(), "hush");
        assert!(of(r#"{"is_enabled": false, "admin_username": "a"}"#).unwrap().admin.is_none());
        let refused = of(r#"{"is_enabled": true, "admin_username": "a"}"#).unwrap_err();
        assert!(refused.contains("governance.auth_config.admin_password: is needed"), "{refused}");
        let old = r#"{"auth_config": {"is_enabled": true, "admin_username": "a",
            "admin_password": "b"}}"#;
        assert!(found(old).unwrap().admin.is_some());
    }
}
