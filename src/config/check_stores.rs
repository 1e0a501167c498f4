//! Where configuration and logs are kept: which of it this version can do.
//!
//! In: the sections as written. Out: a [`Database`] each. Never: opens one.

use crate::config::Database;
use crate::config::fault::{Faults, Path};
use crate::config::file_stores::{Store, StoreConfig, StoreKind};
use std::path::PathBuf;

/// `config_store`: usage, and what it belongs to. `logs_store`: requests.
pub(super) fn store(section: Option<&Store>, path: &Path, faults: &mut Faults) -> Database {
    match section {
        None => Database::Usual,
        Some(store) if !store.enabled => Database::Off,
        Some(store) => sqlite(store, path, faults),
    }
}

fn sqlite(store: &Store, path: &Path, faults: &mut Faults) -> Database {
    let other = match store.kind {
        None | Some(StoreKind::Sqlite) => None,
        Some(StoreKind::Postgres) => Some("postgres"),
        Some(StoreKind::Clickhouse) => Some("clickhouse"),
    };
    if let Some(other) = other {
        let message = format!("`{other}` is not supported by this version; use `sqlite`");
        faults.push(&path.key("type"), message);
        return Database::Off;
    }
    for name in of_servers(&store.config) {
        let message = "is of no use to SQLite, which has a `path` alone; remove the field";
        faults.push(&path.key("config").key(name), message);
    }
    let file = store.config.path.as_ref().map(|path| PathBuf::from(path.expose()));
    Database::Sqlite(file.filter(|file| !file.as_os_str().is_empty()))
}

/// The names of what is set and belongs to databases that are asked over the network.
fn of_servers(config: &StoreConfig) -> impl Iterator<Item = &'static str> {
    let all = [
        ("host", config.host.is_some()),
        ("port", config.port.is_some()),
        ("user", config.user.is_some()),
        ("username", config.username.is_some()),
        ("password", config.password.is_some()),
        ("password_command", config.password_command.is_some()),
        ("db_name", config.db_name.is_some()),
        ("database", config.database.is_some()),
        ("ssl_mode", config.ssl_mode.is_some()),
        ("max_idle_conns", config.max_idle_conns.is_some()),
        ("max_open_conns", config.max_open_conns.is_some()),
        ("conn_max_lifetime", config.conn_max_lifetime.is_some()),
        ("matview_refresh_interval", config.matview_refresh_interval.is_some()),
        ("protocol", config.protocol.is_some()),
        ("secure", config.secure.is_some()),
        ("dial_timeout", config.dial_timeout.is_some()),
        ("cluster", config.cluster.is_some()),
    ];
    all.into_iter().filter_map(|(name, set)| set.then_some(name))
}

#[cfg(test)]
mod tests {
    use crate::config::Database;
    use crate::config::check::{Outside, check};
    use std::io;

    fn found(section: &str) -> Result<Database, String> {
        let text = format!("{{\"config_store\": {section}}}");
        let env = |name: &str| (name == "DB").then(|| "kept.db".to_owned());
        let outside = Outside { env: &env, read: &|_| Err(io::ErrorKind::NotFound.into()) };
        let snapshot = check(&text, outside).map_err(|faults| faults.to_string())?;
        Ok(snapshot.config_store)
    }

    #[test]
    fn a_database_is_the_usual_one_a_named_one_or_none() {
        assert_eq!(found("null"), Ok(Database::Usual));
        assert_eq!(found(r#"{"enabled": false, "type": "postgres"}"#), Ok(Database::Off));
        let usual = Ok(Database::Sqlite(None));
        assert_eq!(found(r#"{"enabled": true}"#), usual);
        assert_eq!(found(r#"{"enabled": true, "type": "sqlite", "config": {"path": ""}}"#), usual);
        let named = found(r#"{"enabled": true, "type": "sqlite", "config": {"path": "env.DB"}}"#);
        assert_eq!(named, Ok(Database::Sqlite(Some("kept.db".into()))));
    }

    #[test]
    fn other_databases_are_refused_by_name() {
        let refused = found(r#"{"enabled": true, "type": "postgres", "config": {"host": "h"}}"#);
        let message =
            "config_store.type: `postgres` is not supported by this version; use `sqlite`";
        assert!(refused.clone().unwrap_err().contains(message), "{refused:?}");
        let mixed = found(r#"{"enabled": true, "config": {"path": "a", "port": 5432}}"#);
        assert!(
            mixed.clone().unwrap_err().contains("config_store.config.port: is of no use"),
            "{mixed:?}"
        );
    }
}
