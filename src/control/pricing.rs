//! Prices from a data sheet: fetched at the start and at `pricing_sync_interval`, and kept on disk.
//!
//! In: `framework.pricing` of the configuration in force. Out: [`Reload::Priced`], each time that a
//! good sheet with new content was found; and a copy in the application's directory, by which a
//! start without the network goes on. A sheet that can't be had, or can't be read, changes nothing
//! and is said in the log. The format is LiteLLM's and Bifrost's (`govern::price_sheet`); its models
//! replace those of the shipped table, and `pricing_overrides` replace both. Never: on the path of a
//! request.

use super::http_client::HttpClient;
use crate::config::load::{load, process_env};
use crate::config::reload::Reload;
use crate::config::{Pricing, Snapshot};
use crate::govern::price_sheet::Sheet;
use crate::observe::log;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// No sheet is larger; today's are two megabytes.
const SHEET_MAX: usize = 64 << 20;
/// After a failure.
const AGAIN: Duration = Duration::from_mins(1);
/// For the whole of a fetch.
const PATIENCE: Duration = Duration::from_mins(2);

/// The copy that an earlier process kept of this sheet.
pub fn kept(dir: &Path, pricing: &Pricing) -> Option<Sheet> {
    let file = copy_of(dir, pricing.url.as_deref()?);
    let text = std::fs::read(&file).ok()?;
    match Sheet::parse(&text) {
        Ok(sheet) => Some(sheet),
        Err(bad) => {
            let (file, reason) = (file.display().to_string(), bad.to_string());
            log::warn(
                "the copy of the price sheet is no good",
                &[("file", &file), ("reason", &reason)],
            );
            None
        }
    }
}

/// Follows the sheet that the configuration names, for as long as the process lives.
pub async fn follow(
    http: HttpClient,
    dir: PathBuf,
    mut in_force: watch::Receiver<Arc<Snapshot>>,
    tell: flume::Sender<Reload>,
) {
    let mut known = None;
    loop {
        let pricing = in_force.borrow_and_update().pricing.clone();
        let mut pause = pricing.sync_interval;
        if let Some(url) = &pricing.url {
            match look(&http, &dir, url, &mut known).await {
                Ok(None) => {}
                Ok(Some(sheet)) => {
                    if tell.send_async(priced(&dir, sheet).await).await.is_err() {
                        return;
                    }
                }
                Err(reason) => {
                    pause = pause.min(AGAIN);
                    let message = "no new prices: those before stay in force";
                    log::warn(message, &[("url", shown(url)), ("reason", &reason)]);
                }
            }
        }
        let changed = async {
            loop {
                if in_force.changed().await.is_err() {
                    return false;
                }
                if in_force.borrow_and_update().pricing != pricing {
                    return true;
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            goes_on = changed => if !goes_on { return },
        }
    }
}

/// The sheet, if its content is another than the last one's; a good one is kept on disk.
async fn look(
    http: &HttpClient,
    dir: &Path,
    url: &str,
    known: &mut Option<blake3::Hash>,
) -> Result<Option<Sheet>, String> {
    let text = tokio::time::timeout(PATIENCE, fetch(http, url))
        .await
        .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
    let digest = blake3::hash(&text);
    if *known == Some(digest) {
        return Ok(None);
    }
    let sheet = Sheet::parse(&text).map_err(|bad| bad.to_string())?;
    *known = Some(digest);
    if let Err(error) = keep(&copy_of(dir, url), &text).await {
        log::warn("the price sheet is not kept on disk", &[("reason", &error.to_string())]);
    }
    let (models, skipped) = (sheet.models.len().to_string(), sheet.skipped.to_string());
    let said = [("url", shown(url)), ("models", &*models), ("without_price", &*skipped)];
    log::info("prices fetched", &said);
    Ok(Some(sheet))
}

async fn fetch(http: &HttpClient, url: &str) -> Result<Vec<u8>, String> {
    let url = url::Url::parse(url).map_err(|error| error.to_string())?;
    if url.scheme() == "file" {
        let file = url.to_file_path().map_err(|()| "this is no path of a file".to_owned())?;
        return tokio::fs::read(file).await.map_err(|error| error.to_string());
    }
    let answered = http.get(url, SHEET_MAX).await?;
    match answered.status {
        200 => Ok(answered.body),
        status => Err(format!("it answered with {status}")),
    }
}

/// Renamed when it is whole: nobody ever reads half a copy.
async fn keep(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let half = file.with_extension("part");
    tokio::fs::write(&half, text).await?;
    tokio::fs::rename(&half, file).await
}

/// One copy for each address.
fn copy_of(dir: &Path, url: &str) -> PathBuf {
    let digest = blake3::hash(url.as_bytes()).to_hex();
    dir.join(format!("prices-{}.json", digest.get(..16).unwrap_or_default()))
}

/// Without its query, which may hold a secret.
fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// The configuration as it stands on disk, to be put in force anew with the sheet.
async fn priced(dir: &Path, sheet: Sheet) -> Reload {
    let dir = dir.to_owned();
    let loaded = tokio::task::spawn_blocking(move || load(&dir, &process_env)).await;
    // A file that is being changed, or is bad, brings the prices along when it is good again.
    let snapshot = loaded.ok().and_then(Result::ok).map(|loaded| Box::new(loaded.snapshot));
    Reload::Priced { sheet, snapshot }
}
